"""Images in registries, as the plugin that fills the role ``registry`` brings them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from attrs import frozen

from terra_core.config.session import Session
from terra_core.config.trust import Trust
from terra_core.config.values import ImageReference
from terra_core.hookspecs import Registry
from terra_core.oci.source import ImageDocuments, ImageSource


@frozen(kw_only=True)
class Images:
    """The images of registries, for one session.

    :param plugin: what fills the role.
    :param session: whose tables say how registries are reached, and who hears of the progress.
    :param trust: whose signatures every image must have, all of them.
    """

    plugin: Registry
    session: Session
    trust: Sequence[Trust] = ()

    def pull(self, reference: ImageReference, layout: Path) -> AbstractContextManager[ImageSource]:
        """Offer to bring an image into a layout on disk, to be applied while it comes.

        :raises TerraError: as :meth:`terra_core.hookspecs.Registry.pull_image` does.
        """
        return self.plugin.pull_image(reference, layout, self.session, self.trust)

    def inspect(self, reference: ImageReference) -> ImageDocuments:
        """Look an image up, and fetch its documents only.

        :raises TerraError: as :meth:`terra_core.hookspecs.Registry.inspect_image` does.
        """
        return self.plugin.inspect_image(reference, self.session, self.trust)
