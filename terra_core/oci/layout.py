"""An image on disk: the OCI image layout specification, version 1.0."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import evolve, frozen

from terra_core.errors import NotFoundError, TerraError
from terra_core.oci import media
from terra_core.oci.choice import DEEPEST_INDEX, choose_manifest, require_platform
from terra_core.oci.digest import Digest, is_digest, parse_digest
from terra_core.oci.documents import (
    REFERENCE_NAME,
    Descriptor,
    ImageConfig,
    Manifest,
    read_config,
    read_index,
    read_manifest,
)
from terra_core.oci.faults import ImageError
from terra_core.oci.platforms import for_this_platform, is_for_here
from terra_core.oci.source import Blob
from terra_core.oci.structure import DOCUMENT_BYTES, Node, read_document
from terra_core.oci.verified import VerifiedBlob
from terra_core.system.openat import DIRECTORY, WITHOUT_LINKS, open_regular
from terra_core.system.reading import NotRegularError

_MOST_INDEXES = 64
_HASHED_AT_ONCE = 1 << 20


@frozen
class StoredImage:
    """An image of a layout, as a :class:`terra_core.oci.source.PortableImage`.

    :param layout: where it is.
    :param digest: the digest of its manifest.
    :param manifest: its manifest.
    :param config: its configuration.
    """

    layout: Layout
    digest: Digest
    manifest: Manifest
    config: ImageConfig

    @property
    def config_document(self) -> bytes:
        """The bytes of the configuration."""
        return self.layout.read(self.manifest.config)

    @contextmanager
    def open_layer(self, layer: Descriptor) -> Iterator[Blob]:
        """Open a layer, to be verified while it is read."""
        with os.fdopen(self.layout.open_blob(layer), "rb", buffering=0) as file:
            yield VerifiedBlob(file.read, layer)


class Layout:
    """An OCI image layout directory, read only; nothing in it is used before its size and digest are right.

    :param path: the directory.
    :raises TerraError: when it is no image layout.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            node = self._document("oci-layout")
        except OSError as error:
            raise NotFoundError(f"{path}: no OCI image layout: oci-layout: {error.strerror}") from error
        version = node["imageLayoutVersion"].text()
        if not version.startswith("1."):
            raise ImageError(f"{path}: image layout version {version!r}, where 1.0.0 is read")

    def resolve(self, reference: str | None = None) -> Descriptor:
        """Find the manifest of an image for this machine's platform.

        :param reference: a name of the index's annotations, or a digest; the only image there when left out.
        :returns: the descriptor of a manifest.
        :raises NotFoundError: when there is no such image, or none for this platform.
        :raises TerraError: when several fit, or the documents are broken.
        """
        try:
            listed = read_index(self._document("index.json"))
        except OSError as error:
            raise NotFoundError(f"{self.path}: no OCI image layout: index.json: {error.strerror}") from error
        if reference is not None and is_digest(reference):
            found: Iterable[Descriptor] = self._search(listed, reference)
        elif reference is not None:
            found = [item for item in listed if item.annotations.get(REFERENCE_NAME) == reference]
        else:
            found = listed
        what = f"{self.path}: {reference or 'image'}"
        candidates = tuple(found)
        if not candidates:
            names = sorted(item.annotations.get(REFERENCE_NAME, str(item.digest)) for item in listed)
            raise NotFoundError(f"{what}: not there", hint=f"there are: {', '.join(names) or 'no images'}")
        _refuse_several(candidates, what)
        return choose_manifest(candidates, self._read, what)

    def image(self, reference: str | None = None) -> StoredImage:
        """Open an image for this machine's platform.

        :param reference: as for :meth:`resolve`.
        :raises TerraError: as :meth:`resolve`, :meth:`manifest` and :meth:`config` do, or when it is for another platform.
        """
        descriptor = self.resolve(reference)
        manifest = self.manifest(descriptor)
        config = self.config(manifest)
        require_platform(config.platform, f"{self.path}: {reference or descriptor.digest}")
        return StoredImage(self, descriptor.digest, manifest, config)

    def manifest(self, descriptor: Descriptor) -> Manifest:
        """Read a manifest.

        :param descriptor: as :meth:`resolve` gave it.
        :raises TerraError: when it is missing, is not what the descriptor says, or no manifest of an image.
        """
        return read_manifest(self._read(descriptor), descriptor.media_type)

    def config(self, manifest: Manifest) -> ImageConfig:
        """Read an image's configuration.

        :raises TerraError: when it is missing, broken, or does not fit the manifest.
        """
        config = read_config(self._read(manifest.config))
        if len(config.diff_ids) != len(manifest.layers):
            message = f"{len(manifest.layers)} layers, but {len(config.diff_ids)} diff_ids in the configuration"
            raise ImageError(f"{manifest.config.digest}: {message}")
        return config

    def open_blob(self, descriptor: Descriptor) -> int:
        """Open a blob whose length is right; its content is not looked at, see :meth:`verify`.

        :returns: a file descriptor, for the caller to close.
        :raises TerraError: when it is missing, no regular file, or of another length.
        """
        digest = descriptor.digest
        place = f"blobs/{digest.algorithm}/{digest.encoded}"
        try:
            fd = self._open(place)
        except OSError as error:
            raise NotFoundError(f"{self.path}: blob {digest}: {error.strerror}") from error
        size = os.fstat(fd).st_size
        if size != descriptor.size:
            os.close(fd)
            raise ImageError(f"blob {digest}: {size} bytes, where its descriptor says {descriptor.size}")
        return fd

    def read(self, descriptor: Descriptor) -> bytes:
        """Return the bytes of a document.

        :raises TerraError: when it is missing, too long, or not what its descriptor says.
        """
        where = f"{descriptor.digest}"
        if descriptor.size > DOCUMENT_BYTES:
            raise ImageError(f"{where}: {descriptor.size} bytes; more than {DOCUMENT_BYTES} are refused")
        with os.fdopen(self.open_blob(descriptor), "rb", buffering=0) as blob:
            content = _all_of(blob.read, descriptor.size)
        if len(content) != descriptor.size or not descriptor.digest.matches(content):
            raise ImageError(f"blob {where}: its content has another digest")
        return content

    def verify(self, descriptor: Descriptor, progress: Callable[[int], None] = lambda length: None) -> None:
        """Read a whole blob and compare its digest.

        :param progress: called with the number of bytes that were read since the last time.
        :raises TerraError: when it is missing, or its length or digest is another.
        """
        hasher = descriptor.digest.hasher()
        with os.fdopen(self.open_blob(descriptor), "rb", buffering=0) as blob:
            while piece := blob.read(_HASHED_AT_ONCE):
                hasher.update(piece)
                progress(len(piece))
        if hasher.hexdigest() != descriptor.digest.encoded:
            raise ImageError(f"blob {descriptor.digest}: its content has another digest, {hasher.hexdigest()}")

    def _open(self, place: str) -> int:
        root = os.open(self.path, DIRECTORY)
        try:
            return open_regular(root, place.encode(), WITHOUT_LINKS)
        except NotRegularError as error:
            raise ImageError(f"{self.path}: {place}: no regular file") from error
        finally:
            os.close(root)

    def _document(self, name: str) -> Node:
        with os.fdopen(self._open(name), "rb", buffering=0) as file:
            content = _all_of(file.read, DOCUMENT_BYTES + 1)
        if len(content) > DOCUMENT_BYTES:
            raise ImageError(f"{self.path}: {name}: more than {DOCUMENT_BYTES} bytes")
        return read_document(content, f"{self.path}: {name}")

    def _read(self, descriptor: Descriptor) -> Node:
        return read_document(self.read(descriptor), str(descriptor.digest))

    def _search(self, listed: tuple[Descriptor, ...], digest: str) -> tuple[Descriptor, ...]:
        """Look for a digest in the index and all that it leads to."""
        wanted = parse_digest(digest)
        waiting = [(item, 0) for item in listed]
        seen = set()
        for item, depth in waiting:  # grows while it is walked
            if item.digest == wanted:
                return (_without_variant(item),)
            if item.media_type not in media.INDEXES or item.digest in seen:
                continue
            seen.add(item.digest)
            if depth == DEEPEST_INDEX or len(seen) > _MOST_INDEXES:
                raise ImageError(f"{self.path}: too many indexes inside each other")
            waiting += ((below, depth + 1) for below in read_index(self._read(item), item.media_type))
        return ()


def _refuse_several(candidates: Sequence[Descriptor], what: str) -> None:
    """Refuse to choose between images; variants of one architecture under one name are no other images."""
    known = [item for item in candidates if item.media_type in media.MANIFESTS | media.INDEXES]
    here = {item.digest: item for item in known if item.platform and is_for_here(item.platform)}
    if len({item.annotations.get(REFERENCE_NAME) for item in here.values()}) < 2:
        here = {item.digest: item for item in for_this_platform(known)}
    if len(here) > 1:
        names = ", ".join(item.annotations.get(REFERENCE_NAME, str(item.digest)) for item in here.values())
        raise TerraError(f"{what}: there are several", hint=f"name one of {names}")


def _without_variant(item: Descriptor) -> Descriptor:
    """Drop the variant: a descriptor named by its digest is wanted, whether or not this machine's processor runs it."""
    return evolve(item, platform=evolve(item.platform, variant="")) if item.platform else item


def _all_of(read: Callable[[int], bytes | None], most: int) -> bytes:
    parts = []
    while most and (part := read(most)):
        parts.append(part)
        most -= len(part)
    return b"".join(parts)
