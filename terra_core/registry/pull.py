"""Pulling into an OCI image layout, with the layers readable while they come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

from attrs import frozen

from terra_core.config.trust import Trust
from terra_core.config.values import ImageReference
from terra_core.errors import TerraError
from terra_core.oci import Descriptor, Digest, ImageConfig, Manifest
from terra_core.oci.source import Blob, ImageDocuments, ImageSource
from terra_core.registry.access import RegistryAccess
from terra_core.registry.downloads import Downloads
from terra_core.registry.progress import Progress, explained, interruptible
from terra_core.registry.remote import Document, Found, Remote
from terra_core.registry.signatures import require_signature
from terra_core.registry.store import held
from terra_core.registry.transport import Transport
from terra_core.system.progress import Event, Report
from terra_core.system.undo import Undo


@contextmanager
def pulled(
    reference: ImageReference, layout: Path, access: RegistryAccess, report: Report, trust: Sequence[Trust] = ()
) -> Iterator[ImageSource]:
    """Bring an image into a layout, and let it be read meanwhile.

    A tag is looked up once: what it named then is what is pulled, wherever it moves meanwhile. Entering ends when everything
    but the layers is there and verified; those come in the background, the lowest first. Leaving without an exception waits
    for all of them. Leaving with one ends the downloads at once; what has come of them stays, and a later pull goes on there.

    :param layout: a directory, made when it is not there; one pull at a time uses it, and others wait.
    :param access: how registries are reached.
    :param trust: whose signatures the image must have, all of them; without, nothing of a layer is fetched.
    :param report: gets events ``pull``, counted in bytes; may end the work by raising InterruptedWork.
    :raises TerraError: as the registry said it, or when what it sent is not what was asked for.
    """
    doing = f"pulling {reference}"
    progress = Progress(doing, report)
    report(Event("pull", f"asking {reference.registry} for {reference}"))
    with Undo() as stack:
        transport = stack.enter_context(closing(Transport(access)))
        with explained(doing):
            remote = Remote(reference, transport, access.mirrors(reference))
            found = interruptible(lambda: _find(remote, trust), progress)
            store = stack.enter_context(held(layout, progress))
            store.add(found, reference)
            downloads = stack.enter_context(Downloads(remote.endpoints, found.manifest.layers, store, progress, doing))
        yield _Image(found, downloads)
        downloads.finish()
        progress.end(f"pulled {reference}", found.size)


def inspected(reference: ImageReference, access: RegistryAccess, report: Report, trust: Sequence[Trust] = ()) -> ImageDocuments:
    """Look an image up, and fetch its documents only.

    :param trust: as for :func:`pulled`.
    :raises TerraError: as :func:`pulled` does.
    """
    doing = f"asking for {reference}"
    report(Event("pull", f"asking {reference.registry} for {reference}"))
    with closing(Transport(access)) as transport, explained(doing):
        remote = Remote(reference, transport, access.mirrors(reference))
        found = interruptible(lambda: _find(remote, trust), Progress(doing, report))
    return ImageDocuments(named=found.named.digest, digest=found.chosen.digest, manifest=found.manifest, config=found.config)


def _find(remote: Remote, trust: Sequence[Trust]) -> Found:
    try:
        keys = [one.public_key for one in trust]
    except ValueError as error:  # the file was right when the configuration was read
        raise TerraError(f"[trust]: {error}") from error

    def check(named: Document) -> None:
        for key in keys:
            require_signature(remote, named, key)

    return remote.find(check)


@frozen
class _Image:
    """An image whose layers are on their way."""

    _found: Found
    _downloads: Downloads

    @property
    def digest(self) -> Digest:
        """The digest of the manifest."""
        return self._found.chosen.digest

    @property
    def manifest(self) -> Manifest:
        """The manifest for this machine's platform."""
        return self._found.manifest

    @property
    def config(self) -> ImageConfig:
        """The configuration."""
        return self._found.config

    def open_layer(self, layer: Descriptor) -> AbstractContextManager[Blob]:
        """Open a layer of the manifest."""
        return self._downloads.opened(layer)
