"""Pulling into an OCI image layout, with the layers readable while they come."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

from attrs import frozen

from terra_core.config.values import ImageReference
from terra_core.oci import Descriptor, Digest, ImageConfig, Manifest
from terra_core.oci.signature import FoundSignature
from terra_core.oci.source import Blob, ImageDocuments, ImageSource
from terra_core.registry.access import RegistryAccess
from terra_core.registry.downloads import Downloads
from terra_core.registry.progress import Progress, explained, interruptible
from terra_core.registry.remote import Found, Remote
from terra_core.registry.signatures import find_signatures
from terra_core.registry.store import held
from terra_core.registry.transport import Transport
from terra_core.system.progress import Event, Report
from terra_core.system.undo import Undo


@contextmanager
def pulled(
    reference: ImageReference,
    layout: Path,
    access: RegistryAccess,
    report: Report,
    *,
    name: ImageReference | None = None,
    layers: Collection[Digest] | None = None,
) -> Iterator[ImageSource]:
    """Bring an image into a layout, and let it be read meanwhile.

    A tag is looked up once; it may move meanwhile. Entering returns when everything but the layers is in the layout and
    verified; the layers follow in the background, the lowest first. Leaving without an exception waits for all of them. Leaving
    with one ends the downloads at once; what has come stays, and a later pull continues it.

    :param layout: a directory, made when it is not there; one pull at a time uses it, and others wait.
    :param access: how registries are reached.
    :param report: gets events ``pull``, counted in bytes; may end the work by raising InterruptedWork.
    :param name: what the image is called in the layout and in messages, where ``reference`` is another name for it.
    :param layers: the layers that are fetched; all when left out.
    :raises TerraError: as the registry said it, or when what it sent is not what was asked for.
    """
    name = name or reference
    doing = f"pulling {name}"
    progress = Progress(doing, report)
    report(Event("pull", f"asking {reference.registry} for {name}"))
    with Undo() as stack:
        transport = stack.enter_context(closing(Transport(access)))
        with explained(doing):
            remote = Remote(reference, transport, access.mirrors(reference))
            found = interruptible(remote.find, progress)
            store = stack.enter_context(held(layout, progress))
            store.add(found, name)
            wanted = [layer for layer in found.manifest.layers if layers is None or layer.digest in layers]
            downloads = stack.enter_context(Downloads(remote.endpoints, wanted, store, progress, doing))
        yield _Image(found, downloads)
        downloads.finish()
        progress.end(f"pulled {name}", sum(layer.size for layer in set(wanted)))


def inspected(reference: ImageReference, access: RegistryAccess, report: Report) -> ImageDocuments:
    """Look an image up, and fetch its documents only.

    :raises TerraError: as :func:`pulled` does.
    """
    with _asking(reference, access, report) as (remote, progress):
        found = interruptible(remote.find, progress)
    return ImageDocuments(
        named=found.named.digest,
        digest=found.chosen.digest,
        manifest=found.manifest,
        config=found.config,
        content=found.documents[0].content,
    )


def signatures_of(
    reference: ImageReference, digest: Digest, access: RegistryAccess, report: Report
) -> Sequence[FoundSignature]:
    """Fetch what the registry has beside an image that may be a signature of it; nothing is verified.

    :param digest: of the manifest or index that would have been signed.
    :raises TerraError: as the registry said it.
    """
    with _asking(reference, access, report) as (remote, progress):
        return interruptible(lambda: find_signatures(remote, digest), progress)


@contextmanager
def _asking(reference: ImageReference, access: RegistryAccess, report: Report) -> Iterator[tuple[Remote, Progress]]:
    doing = f"asking for {reference}"
    report(Event("pull", f"asking {reference.registry} for {reference}"))
    with closing(Transport(access)) as transport, explained(doing):
        yield Remote(reference, transport, access.mirrors(reference)), Progress(doing, report)


@frozen
class _Image:
    """An image whose layers are on their way."""

    _found: Found
    _downloads: Downloads

    @property
    def digest(self) -> Digest:
        """Return the digest of the manifest."""
        return self._found.chosen.digest

    @property
    def manifest(self) -> Manifest:
        """Return the manifest for this machine's platform."""
        return self._found.manifest

    @property
    def config(self) -> ImageConfig:
        """Return the configuration."""
        return self._found.config

    def open_layer(self, layer: Descriptor) -> AbstractContextManager[Blob]:
        """Open a layer of the manifest."""
        return self._downloads.opened(layer)
