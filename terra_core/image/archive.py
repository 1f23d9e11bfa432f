"""An image in a file of ``docker save``, read where it lies.

The format is that of Docker's image specification, version 1.2: a ``manifest.json`` that names a configuration and the layers.
Newer engines put an OCI image layout beside it, and name files of that.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from terra_core.errors import NotFoundError, TerraError
from terra_core.image import media
from terra_core.image.compression import kind_of
from terra_core.image.digest import Digest, parse_digest
from terra_core.image.documents import Descriptor, ImageConfig, Manifest, read_config
from terra_core.image.faults import ImageError, shown
from terra_core.image.limits import Limits, Tally
from terra_core.image.platforms import is_for_here, this_platform
from terra_core.image.source import Blob
from terra_core.image.structure import DOCUMENT_BYTES, Node, read_document
from terra_core.image.tar import FileStream, Kind, TarReader
from terra_core.image.verified import VerifiedBlob

_MOST_FILES = 100_000
_BLOB = re.compile(r"blobs/sha256/([0-9a-f]{64})")
_CONFIG = re.compile(r"(?:blobs/sha256/)?([0-9a-f]{64})(?:\.json)?")


@frozen
class _Span:
    """Where the content of a file stands in the archive."""

    offset: int
    size: int


class DockerArchive:
    """An image of such a file, as a :class:`terra_core.image.source.ImageSource`. A context manager.

    The archive has no manifest of its own that a registry would know: the digest is that of the configuration, which Docker
    calls the image's id, and which names every layer by the digest of its uncompressed content. ``document`` has the bytes of
    the configuration.

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
            self._spans, self._links = self._index()
            listed = self._choose(reference)
            self.digest, self.config, self.document = self._config(listed["Config"].text())
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

    def _index(self) -> tuple[dict[str, _Span], dict[str, str]]:
        self._refuse_compressed()
        spans: dict[str, _Span] = {}
        links: dict[str, str] = {}
        stream = FileStream(self._fd)
        try:
            for entry in TarReader(stream, Tally(Limits(entries=_MOST_FILES))):
                name = posixpath.normpath(os.fsdecode(entry.name))
                if entry.kind is Kind.FILE and entry.segments is None:
                    spans[name] = _Span(stream.offset, entry.size)
                elif entry.kind is Kind.SYMLINK:
                    links[name] = posixpath.normpath(posixpath.join(posixpath.dirname(name), os.fsdecode(entry.target)))
        except ImageError as error:
            raise ImageError(f"{self.path}: {error.message}", hint="name a file that `docker save` has written") from error
        return spans, links

    def _refuse_compressed(self) -> None:
        try:
            kind = kind_of(os.pread(self._fd, 4, 0))
        except OSError as error:
            raise TerraError(f"{self.path}: {error.strerror}", hint="name a file that `docker save` has written") from error
        if kind != "plain":
            raise TerraError(f"{self.path}: compressed as a whole", hint=f"unpack it first, with {kind} -d")

    def _span(self, name: str) -> _Span:
        name = posixpath.normpath(name)
        span = self._spans.get(self._links.get(name, name))
        if span is None:
            raise ImageError(f"{self.path}: {shown(os.fsencode(name))} is missing in it")
        return span

    def _document(self, name: str, top: type) -> tuple[Node, bytes]:
        span = self._span(name)
        if span.size > DOCUMENT_BYTES:
            raise ImageError(f"{self.path}: {shown(os.fsencode(name))}: more than {DOCUMENT_BYTES} bytes")
        content = os.pread(self._fd, span.size, span.offset)
        return read_document(content, f"{self.path}: {shown(os.fsencode(name))}", top=top), content

    def _choose(self, reference: str | None) -> Node:
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
        named = _CONFIG.fullmatch(posixpath.normpath(name))
        if named is None:
            raise ImageError(f"{node.where}: a configuration whose name is not its digest")
        digest = parse_digest(f"sha256:{named[1]}")
        if not digest.matches(content):
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
        named = _BLOB.fullmatch(posixpath.normpath(name))
        if named is None and kind != "plain":
            raise ImageError(f"{self.path}: layer {shown(os.fsencode(name))} is compressed, and nothing says its digest")
        layer = Descriptor(media.OCI_LAYERS[kind], parse_digest(f"sha256:{named[1]}") if named else diff_id, span.size)
        self._layers[layer] = span
        return layer
