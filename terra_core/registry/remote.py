"""An image in a registry: what a reference names there, down to the manifest for this machine."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from attrs import frozen

from terra_core.config.values import ImageReference
from terra_core.errors import NotFoundError, TerraError
from terra_core.oci import (
    Descriptor,
    Digest,
    ImageConfig,
    ImageError,
    Manifest,
    is_digest,
    media,
    parse_digest,
)
from terra_core.oci.choice import choose_manifest, require_platform
from terra_core.oci.documents import read_config, read_manifest
from terra_core.oci.structure import DOCUMENT_BYTES, Node, read_document
from terra_core.registry.access import Mirror
from terra_core.registry.endpoint import Endpoint
from terra_core.registry.transport import Transport, Unreachable

_DOCUMENTS = (*sorted(media.INDEXES), *sorted(media.MANIFESTS))


@frozen
class Document:
    """Something short that was fetched and verified.

    :param descriptor: what it is.
    :param content: its bytes, as the registry keeps them.
    """

    descriptor: Descriptor
    content: bytes


@frozen
class Found:
    """An image in the registry.

    :param named: what the reference names: a manifest, or an index.
    :param chosen: the manifest for this machine.
    :param manifest: what that says.
    :param config: what its configuration says.
    :param documents: all that led here: indexes if any, the manifest, the configuration.
    """

    named: Descriptor
    chosen: Descriptor
    manifest: Manifest
    config: ImageConfig
    documents: tuple[Document, ...]

    @property
    def size(self) -> int:
        """Return the bytes of its layers."""
        return sum(layer.size for layer in set(self.manifest.layers))


class Remote:
    """A reference, and the hosts that it can be had from.

    :param reference: the image.
    :param transport: sends what is to be sent.
    :param mirrors: what is asked before the registry itself, in this order.
    """

    def __init__(self, reference: ImageReference, transport: Transport, mirrors: Sequence[Mirror] = ()) -> None:
        self.reference = reference
        itself = Mirror(reference.registry, reference.path)
        self._registry = Endpoint(reference.registry, reference.path, transport)
        others = [Endpoint(mirror.registry, mirror.path, transport) for mirror in mirrors if mirror != itself]
        self.endpoints = [*others, self._registry]

    def find(self) -> Found:
        """Look the reference up, and fetch all but the layers.

        :raises TerraError: as the registry said it, or when what it sent is not what was asked for.
        """
        named = self._named()
        documents: list[Document] = []

        def read(descriptor: Descriptor) -> Node:
            documents.append(named if descriptor == named.descriptor else self.fetch_described(descriptor, "manifests"))
            return _node(documents[-1])

        chosen = choose_manifest([named.descriptor], read, "it")
        manifest = read_manifest(read(chosen), chosen.media_type)
        config_document = self.fetch_described(manifest.config, "blobs")
        config = read_config(_node(config_document))
        _check(manifest, config)
        return Found(named.descriptor, chosen, manifest, config, (*documents, config_document))

    def _named(self) -> Document:
        """Return what the reference names, by a digest that is the registry's own."""
        version = self.reference.digest or self.reference.tag
        if not self.reference.digest and len(self.endpoints) > 1:
            told = self._registry.digest(version, _DOCUMENTS)
            version = told if is_digest(told) else version
        if is_digest(version):
            content, said = self.fetch(f"manifests/{version}", _DOCUMENTS, parse_digest(version))
        else:
            content, said = self._registry.document(f"manifests/{version}", _DOCUMENTS)
        digest = parse_digest(version) if is_digest(version) else Digest("sha256", hashlib.sha256(content).hexdigest())
        kind = _media_type(read_document(content, str(self.reference)), said)
        return Document(Descriptor(kind, digest, len(content)), content)

    def fetch_described(self, descriptor: Descriptor, kind: str) -> Document:
        """Get a document by its descriptor.

        :param kind: ``manifests`` or ``blobs``.
        :raises TerraError: when it is not to be had, or is another than described.
        """
        if descriptor.size > DOCUMENT_BYTES:
            raise ImageError(f"{descriptor.digest}: {descriptor.size} bytes; more than {DOCUMENT_BYTES} are refused")
        accept = (descriptor.media_type,) if kind == "manifests" else (descriptor.media_type, "*/*")
        content, _ = self.fetch(f"{kind}/{descriptor.digest}", accept, descriptor.digest)
        if len(content) != descriptor.size:
            raise ImageError(f"{descriptor.digest}: {len(content)} bytes, where its descriptor says {descriptor.size}")
        return Document(descriptor, content)

    def fetch(self, what: str, accept: tuple[str, ...], digest: Digest) -> tuple[bytes, str]:
        """Get a document by its digest, from the first host that has it.

        :raises TerraError: what the registry itself said, when no mirror has it either.
        """
        *mirrors, registry = self.endpoints
        for mirror in mirrors:
            try:
                return _verified(*mirror.document(what, accept, attempts=1), digest, mirror.name)
            except TerraError as error:  # the error of the registry itself counts
                if isinstance(error, Unreachable):
                    self.endpoints.remove(mirror)
        return _verified(*registry.document(what, accept), digest, registry.name)

    def look(self, what: str, accept: tuple[str, ...]) -> bytes | None:
        """Get a document that may not be there, and that nothing says the digest of."""
        *mirrors, registry = self.endpoints
        problem: TerraError | None = None
        for endpoint in (registry, *mirrors):
            try:
                return endpoint.document(what, accept)[0]
            except NotFoundError:
                continue
            except TerraError as error:
                # A registry that has no such interface may answer with any status.
                if endpoint is registry and (isinstance(error, Unreachable) or not what.startswith("referrers/")):
                    problem = error
        if problem is not None:
            raise problem
        return None


def _verified(content: bytes, said: str, digest: Digest, host: str) -> tuple[bytes, str]:
    if not digest.matches(content):
        raise ImageError(f"{host} sent something else than {digest}")
    return content, said


def _node(document: Document) -> Node:
    return read_document(document.content, str(document.descriptor.digest))


def _check(manifest: Manifest, config: ImageConfig) -> None:
    require_platform(config.platform, "it")
    if len(config.diff_ids) != len(manifest.layers):
        counts = f"{len(manifest.layers)} layers, but {len(config.diff_ids)} diff_ids in the configuration"
        raise ImageError(f"{manifest.config.digest}: {counts}")


def _media_type(document: Node, said: str) -> str:
    """Return what a document is: as it says itself, as the registry said, or else by what it holds."""
    own = document["mediaType"].text() if document["mediaType"] else ""
    known = media.INDEXES | media.MANIFESTS
    if own in known and said in known and (own in media.INDEXES) != (said in media.INDEXES):
        raise ImageError(f"{document.where}: says {own!r} of itself, but was sent as {said!r}")
    for kind in (own, said):
        if kind in known:
            return kind
    return media.OCI_INDEX if document["manifests"] else media.OCI_MANIFEST
