"""Images in registries, moved by the plugin of the role ``registry`` and checked here, whatever the plugin does.

An image that a reference names by digest has that digest, the layout holds the image that the plugin returned, and a trusted
key has signed it before any layer is fetched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from terra_core.config.controller import Controller
from terra_core.config.loader import Document
from terra_core.config.node import Node
from terra_core.config.parts import Parts
from terra_core.config.session import Session
from terra_core.config.trust import Trust
from terra_core.config.values import ImageReference, pinned, shown
from terra_core.errors import PluginError, TerraError
from terra_core.hookspecs import Builder, BuiltImage, Registry
from terra_core.oci import Descriptor, Digest, ImageConfig, Layout, Manifest, is_digest
from terra_core.oci.repacking import Repacking, repack
from terra_core.oci.signature import require_signature
from terra_core.oci.source import Blob, ImageDocuments, ImageSource
from terra_core.oci.verified import VerifiedBlob
from terra_core.plugins import Plugins
from terra_core.registry.progress import explained
from terra_core.system.progress import Report, silent
from terra_core.system.workspace import image_workspace

Configuration = Document[Parts] | Document[Node] | Document[Controller]
"""A file that says who fetches images, and whose are taken."""


@frozen(kw_only=True)
class Images:
    """The images of registries, for one session.

    :param plugin: what fills the role.
    :param session: with the tables that say how registries are reached, and the report for progress.
    :param trust: whose signatures every image must have, all of them.
    """

    plugin: Registry
    session: Session
    trust: Sequence[Trust] = ()

    @contextmanager
    def pull(
        self, reference: ImageReference, layout: Path, *, layers: Sequence[Digest] | None = None
    ) -> Iterator[ImageSource]:
        """Bring an image into a layout on disk, to be applied while it comes.

        :param layers: the layers that will be read; all when left out.
        :raises TerraError: as :meth:`terra_core.hookspecs.Registry.pull_image` does, when nobody who is trusted has signed the
            image, or when the plugin brought another one.
        """
        doing = f"pulling {reference}"
        if self.trust:
            found = self.plugin.inspect_image(reference, self.session)
            self._check(reference, found, doing)
            reference = pinned(reference, str(found.named))
        if layers is None:
            offer = self.plugin.pull_image(reference, layout, self.session)
        else:
            offer = self.plugin.pull_layers(reference, layers, layout, self.session)
        with offer as source:
            yield self._checked(reference, source, layout, doing)

    def inspect(self, reference: ImageReference) -> ImageDocuments:
        """Look an image up, and fetch its documents only.

        :raises TerraError: as :meth:`pull` does.
        """
        found = self.plugin.inspect_image(reference, self.session)
        self._check(reference, found, f"asking for {reference}")
        return found

    def _check(self, reference: ImageReference, found: ImageDocuments, doing: str) -> None:
        """Check that documents are those of a reference, and that everybody who has to has signed them."""
        wanted = reference.digest or str(found.named)
        if str(found.named) != wanted or not found.named.matches(found.content):
            raise self._wrong(doing, f"{found.named}, which is not what {wanted} names")
        if not self.trust:
            return
        try:
            keys = [one.public_key for one in self.trust]
        except ValueError as error:  # the file was right when the configuration was read
            raise TerraError(f"[trust]: {error}") from error
        signatures = self.plugin.fetch_signatures(reference, found.named, self.session)
        with explained(doing):
            for key in keys:
                require_signature(signatures, found.named, found.content, key)

    def _checked(self, reference: ImageReference, source: ImageSource, layout: Path, doing: str) -> ImageSource:
        """Return what a plugin brought, with the documents that are in the layout and have the digests that they must have."""
        try:
            there = Layout(layout).image(reference.digest or str(source.digest))
        except TerraError as error:
            raise self._wrong(doing, f"no image that can be read: {error.message}") from error
        if there.digest != source.digest:
            raise self._wrong(doing, f"{source.digest}, which is not what {reference} names")
        return _CheckedImage(there.digest, there.manifest, there.config, source)

    def _wrong(self, doing: str, what: str) -> PluginError:
        return PluginError(f"{doing}: plugin {self.plugin.plugin!r} brought {what}")


def images_of(
    config: Configuration | None,
    *,
    trust: Sequence[Trust] = (),
    plain_http: bool = False,
    report: Report = silent,
    plugins: Plugins | None = None,
) -> Images:
    """Return the images of registries as a file has them: who fetches them, and whose are taken.

    :param config: the file; the default plugin fetches anybody's images without one.
    :param trust: whose signatures an image must have besides.
    :param plain_http: whether registries may be talked to without TLS.
    :param report: takes progress events, and may raise to end the work.
    :param plugins: the installed plugins; found when left out.
    :raises ConfigError: when the plugin is not installed.
    """
    session = config.session(report, plain_http=plain_http) if config else Session(report=report, plain_http=plain_http)
    chosen = config.value.plugins if config else {}
    plugin = (plugins or Plugins.discover()).fill(Registry, chosen, source=session.source)
    own = (config.value.trust,) if config and config.value.trust else ()
    return Images(plugin=plugin, session=session, trust=(*trust, *own))


def push_built(
    built: BuiltImage,
    reference: ImageReference,
    bases: Sequence[ImageReference],
    *,
    builder: Builder,
    registry: Registry,
    session: Session,
) -> str:
    """Push an image that a builder has, with no time of its own layers later than its epoch: see docs/decisions/0017.

    :param bases: the images that it stands on, whose layers the registry may have.
    :returns: the digest of its manifest in the registry.
    :raises TerraError: as the builder or the registry said it.
    """
    registry.check_push(reference, session)
    with image_workspace() as work, builder.save_image(built.id, work, session) as saved:
        repacking = Repacking(epoch=built.epoch, kept=built.base_layers, compress=True)
        with explained(f"pushing {reference}"):
            image = repack(saved, work / "repacked", repacking, session.report)
        digest = registry.push_image(reference, image, bases, session)
    if not is_digest(digest):
        raise PluginError(f"plugin {registry.plugin!r} pushed {reference}, and gave no digest: {shown(digest)}")
    return digest


@frozen
class _CheckedImage:
    """An image whose documents were read from the layout, and whose layers are compared with them while they are read."""

    digest: Digest
    manifest: Manifest
    config: ImageConfig
    _source: ImageSource

    @contextmanager
    def open_layer(self, layer: Descriptor) -> Iterator[Blob]:
        """Open a layer of the manifest."""
        with self._source.open_layer(layer) as blob:
            yield VerifiedBlob(blob.read, layer)
