"""An image in a file of ``docker save``, read where it lies.

The format is that of Docker's image specification, version 1.2: a ``manifest.json`` that names a configuration and the layers.
Newer engines put an OCI image layout beside it, and name files of that. Others that write it name both as they like, compress
layers, or the whole, and an archive that was unpacked and archived again holds links in the place of files. The
configuration's diff_ids verify the layers, whatever their names are.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from terra_core.errors import NotFoundError, TerraError
from terra_core.oci import media
from terra_core.oci.compression import kind_of, uncompressed
from terra_core.oci.digest import Digest, parse_digest
from terra_core.oci.documents import Descriptor, ImageConfig, Manifest, read_config
from terra_core.oci.faults import ImageError, shown
from terra_core.oci.limits import Limits, Tally
from terra_core.oci.platforms import is_for_here, this_platform
from terra_core.oci.source import Blob
from terra_core.oci.structure import DOCUMENT_BYTES, Node, read_document
from terra_core.oci.tar import FileStream, Kind, TarReader
from terra_core.oci.verified import VerifiedBlob

_MOST_FILES = 100_000
_MOST_LINKS = 40
_BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})")
_CONFIG = re.compile(r"(?:blobs/sha256/|sha256:)?([0-9a-f]{64})(?:\.json)?")
_HASHED_AT_ONCE = 1 << 20
_ROOM = Path("/var/tmp")  # noqa: S108  # for a file without a name
_NOT_READ = {"xz": re.compile(rb"\xfd7zXZ\0"), "bzip2": re.compile(rb"BZh[1-9]1AY&SY")}
_REMEDY = "name a file that `docker save` or a tool of its kind has written"


@frozen
class _Span:
    """Where the content of a file stands in the archive."""

    offset: int
    size: int


class DockerArchive:
    """An image of such a file, as a :class:`terra_core.oci.source.PortableImage`. A context manager.

    The archive has no manifest of its own that a registry would know: the digest is that of the configuration, which Docker
    calls the image's id, and which names every layer by the digest of its uncompressed content. ``config_document`` has
    the bytes of that.

    :param path: the file.
    :param reference: the name of the image, such as ``example:6``; the only image there when left out.
    :raises TerraError: when the file is no such archive, has no such image, or one for another platform.
    """

    def __init__(self, path: Path, reference: str | None = None) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise NotFoundError(f"{path}: {error.strerror}") from error
        try:
            if not stat.S_ISREG(os.fstat(self._fd).st_mode):
                raise TerraError(f"{path}: is no regular file", hint=_REMEDY)
            self._inflate()
            self._spans, self._links = self._index()
            listed = self._choose(reference)
            self.digest, self.config, self.config_document = self._config(listed["Config"].text())
            self._layers: dict[Descriptor, _Span] = {}
            self.manifest = self._manifest(listed["Layers"])
        except BaseException:
            os.close(self._fd)
            raise

    def __enter__(self) -> DockerArchive:
        return self

    def __exit__(self, *raised: object) -> None:
        os.close(self._fd)

    @contextmanager
    def open_layer(self, layer: Descriptor) -> Iterator[Blob]:
        """Open a layer, to be verified while it is read."""
        span = self._layers[layer]
        position, end = span.offset, span.offset + span.size

        def read(length: int) -> bytes:
            nonlocal position
            piece = os.pread(self._fd, min(length, end - position), position)
            position += len(piece)
            return piece

        yield VerifiedBlob(read, layer)

    def _inflate(self) -> None:
        """Inflate an archive that is compressed as a whole into a file without a name, which is gone when it is closed."""
        magic = os.pread(self._fd, 10, 0)
        for program, beginning in _NOT_READ.items():
            if beginning.match(magic):
                raise TerraError(f"{self.path}: is compressed by {program}", hint=f"inflate it first, with {program} -d")
        kind = kind_of(magic[:4])
        if kind == "plain":
            return
        fd = os.open(_ROOM, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
        try:
            for piece in uncompressed(lambda length: os.read(self._fd, length), kind, Limits()):
                written = os.write(fd, piece)
                while written < len(piece):
                    written += os.write(fd, piece[written:])
            os.dup2(fd, self._fd, inheritable=False)
        except OSError as error:
            message = f"{self.path}: inflating it into {_ROOM}: {error.strerror}"
            raise TerraError(message, hint=f"inflate it first where there is room, with {kind} -d") from error
        except ImageError as error:
            raise ImageError(f"{self.path}: {error.message}") from error
        finally:
            os.close(fd)

    def _index(self) -> tuple[dict[str, _Span], dict[str, str]]:
        spans: dict[str, _Span] = {}
        links: dict[str, str] = {}
        stream = FileStream(self._fd)
        try:
            for entry in TarReader(stream, Tally(Limits(entries=_MOST_FILES))):
                name, target = _name(os.fsdecode(entry.name)), os.fsdecode(entry.target)
                spans.pop(name, None)
                links.pop(name, None)
                if entry.kind is Kind.FILE and entry.segments is None:
                    spans[name] = _Span(stream.offset, entry.size)
                elif entry.kind is Kind.FILE:
                    links[name] = ""  # with holes: it does not stand there in one piece
                elif entry.kind is Kind.LINK:
                    links[name] = _name(target)
                elif entry.kind is Kind.SYMLINK and not target.startswith("/"):
                    links[name] = _name(posixpath.join(posixpath.dirname(name), target))
        except ImageError as error:
            raise ImageError(f"{self.path}: {error.message}", hint=_REMEDY) from error
        return spans, links

    def _span(self, name: str) -> _Span:
        at = _name(name)
        for _ in range(_MOST_LINKS):
            if at in self._spans:
                return self._spans[at]
            at = self._links.get(at, "")
        held = self._links.get(_name(name)) == ""
        what = "is stored with holes; archive it without --sparse" if held else "is missing in it"
        raise ImageError(f"{self.path}: {shown(os.fsencode(name))} {what}")

    def _document(self, name: str, top: type) -> tuple[Node, bytes]:
        span = self._span(name)
        if span.size > DOCUMENT_BYTES:
            raise ImageError(f"{self.path}: {shown(os.fsencode(name))}: more than {DOCUMENT_BYTES} bytes")
        content = os.pread(self._fd, span.size, span.offset)
        return read_document(content, f"{self.path}: {shown(os.fsencode(name))}", top=top), content

    def _choose(self, reference: str | None) -> Node:
        if "oci-layout" in self._spans and "manifest.json" not in self._spans.keys() | self._links.keys():
            hint = "unpack it into a directory with tar, and name that: oci:DIRECTORY"
            raise TerraError(f"{self.path}: an OCI image layout, no archive of `docker save`", hint=hint)
        images = list(self._document("manifest.json", list)[0].items())
        names = {name: image for image in images for name in image["RepoTags"].texts()}
        if reference is not None:
            wanted = reference if ":" in reference.rpartition("/")[2] else f"{reference}:latest"
            found = [names[wanted]] if wanted in names else []
        else:
            found = images
        if len(found) == 1:
            return found[0]
        what = "there are several images" if found else f"no image {reference!r} in it" if reference else "no image in it"
        raise NotFoundError(f"{self.path}: {what}", hint=f"name one of {', '.join(sorted(names))}" if names else "")

    def _config(self, name: str) -> tuple[Digest, ImageConfig, bytes]:
        node, content = self._document(name, dict)
        digest = Digest("sha256", hashlib.sha256(content).hexdigest())
        named = _CONFIG.fullmatch(_name(name))
        if named is not None and named[1] != digest.encoded:
            raise ImageError(f"{node.where}: its content has another digest")
        config = read_config(node)
        if not is_for_here(config.platform):
            raise NotFoundError(f"{self.path}: not built for {this_platform()}", hint=f"it is built for {config.platform}")
        return digest, config, content

    def _manifest(self, listed: Node) -> Manifest:
        names = listed.texts()
        if len(names) != len(self.config.diff_ids):
            raise ImageError(f"{listed.where}: {len(names)} layers, but {len(self.config.diff_ids)} diff_ids")
        layers = tuple(self._layer(name, diff_id) for name, diff_id in zip(names, self.config.diff_ids, strict=True))
        return Manifest(Descriptor(media.OCI_CONFIG, self.digest, 0), layers)

    def _layer(self, name: str, diff_id: Digest) -> Descriptor:
        span = self._span(name)
        kind = kind_of(os.pread(self._fd, min(4, span.size), span.offset))
        named = _BLOB.fullmatch(_name(name))
        digest = parse_digest(f"sha256:{named[1]}") if named else diff_id if kind == "plain" else self._hash(span)
        layer = Descriptor(media.OCI_LAYERS[kind], digest, span.size)
        self._layers[layer] = span
        return layer

    def _hash(self, span: _Span) -> Digest:
        """Return the digest of a blob that nothing states the digest of; what it inflates to is checked all the same."""
        hasher, position, end = hashlib.sha256(), span.offset, span.offset + span.size
        while piece := os.pread(self._fd, min(_HASHED_AT_ONCE, end - position), position):
            hasher.update(piece)
            position += len(piece)
        return Digest("sha256", hasher.hexdigest())


def _name(name: str) -> str:
    """Return a name in the archive, relative to its root."""
    return posixpath.normpath(f"/{name}").lstrip("/")
