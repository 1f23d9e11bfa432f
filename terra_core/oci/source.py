"""Where an image comes from while it is applied: a layout on disk, or a registry whose layers are still on their way."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol, runtime_checkable

from attrs import frozen

from terra_core.oci.digest import Digest
from terra_core.oci.documents import Descriptor, ImageConfig, Manifest


@frozen(kw_only=True)
class ImageDocuments:
    """The documents of an image, without its layers.

    :param named: the digest of what the reference names: of the manifest, or of an index.
    :param digest: the digest of the manifest.
    :param manifest: the manifest for this machine's platform.
    :param config: its configuration.
    :param content: the bytes of what the reference names.
    """

    named: Digest
    digest: Digest
    manifest: Manifest
    config: ImageConfig
    content: bytes

    @property
    def size(self) -> int:
        """The bytes of all layers, as they are downloaded."""
        return sum(layer.size for layer in self.manifest.layers)


class Blob(Protocol):
    """The bytes of a layer, from its first to its last."""

    def read(self, length: int) -> bytes:
        """Return the next bytes, at most ``length`` and at least one; nothing at the end.

        The end is reported only when the whole blob has been read and its size and digest are those of its descriptor, so that
        a reader who has seen the end has a verified blob. May wait for bytes that are still on their way.

        :raises TerraError: when they do not come, or when the blob is another.
        :raises InterruptedWork: when the work was asked to end.
        """


@runtime_checkable
class ImageSource(Protocol):
    """An image whose manifest and configuration are there and verified, and whose layers can be read."""

    @property
    def digest(self) -> Digest:
        """The digest of the manifest."""

    @property
    def manifest(self) -> Manifest:
        """The manifest for this machine's platform."""

    @property
    def config(self) -> ImageConfig:
        """The configuration; it has a diff_id for each of the manifest's layers."""

    def open_layer(self, layer: Descriptor) -> AbstractContextManager[Blob]:
        """Open a layer of the manifest, to read it once; a layer may be opened again after that.

        :raises TerraError: when it is missing.
        """


@runtime_checkable
class PortableImage(ImageSource, Protocol):
    """An image that can be written elsewhere, into a registry or a layout: it has the bytes of its configuration too."""

    @property
    def config_document(self) -> bytes:
        """The bytes of the configuration."""
