"""One layer more on an image."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from attrs import evolve, frozen

from terra_core.oci.digest import Digest
from terra_core.oci.documents import Descriptor, ImageConfig, Manifest
from terra_core.oci.source import Blob, ImageSource
from terra_core.oci.verified import VerifiedBlob

_LAYER = "application/vnd.oci.image.layer.v1.tar"


@frozen
class File:
    """A file of the new layer; it belongs to root.

    :param content: its bytes, or for a symbolic link where it leads.
    :param mode: its permission bits.
    :param link: whether it is a symbolic link.
    """

    content: bytes
    mode: int = 0o644
    link: bool = False


@frozen
class AmendedImage:
    """An image with a layer on top that is in memory alone, as a :class:`terra_core.oci.source.ImageSource`.

    :param below: the image, which stays as it is.
    :param content: the layer, as :func:`write_layer` gives it.
    """

    below: ImageSource
    content: bytes

    @property
    def digest(self) -> Digest:
        """The digest of the image below: nobody ever wrote a manifest of this one."""
        return self.below.digest

    @property
    def manifest(self) -> Manifest:
        """The manifest, as it would be."""
        return evolve(self.below.manifest, layers=(*self.below.manifest.layers, self._layer))

    @property
    def config(self) -> ImageConfig:
        """The configuration, as it would be."""
        return evolve(self.below.config, diff_ids=(*self.below.config.diff_ids, self._layer.digest))

    @contextmanager
    def open_layer(self, layer: Descriptor) -> Iterator[Blob]:
        """Open a layer."""
        if layer == self._layer:
            yield VerifiedBlob(io.BytesIO(self.content).read, layer)
            return
        with self.below.open_layer(layer) as blob:
            yield blob

    @property
    def _layer(self) -> Descriptor:
        return Descriptor(_LAYER, Digest("sha256", hashlib.sha256(self.content).hexdigest()), len(self.content))


def write_layer(files: Mapping[str, File]) -> bytes:
    """Write a layer of files.

    :param files: by path without a leading slash; their directories are in the image.
    """
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, file in sorted(files.items()):
            info = tarfile.TarInfo(path)
            info.mode = file.mode
            if file.link:
                info.type, info.linkname = tarfile.SYMTYPE, file.content.decode()
            else:
                info.size = len(file.content)
            archive.addfile(info, None if file.link else io.BytesIO(file.content))
    return out.getvalue()
