"""The role ``registry``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from terra_core.config.session import Session
from terra_core.config.values import ImageReference
from terra_core.hookspecs.markers import Role, hook, optional
from terra_core.oci.digest import Digest
from terra_core.oci.signature import FoundSignature
from terra_core.oci.source import ImageDocuments, ImageSource, PortableImage


class Registry(Role):
    """Role ``registry``: moving images from and to registries.

    A plugin says how registries are reached, and brings bytes; core checks the digests and the signatures of what it brings.
    :mod:`terra_core.registry` is a client that every plugin may use. The controller pulls several images at once, each from a
    thread of its own.
    """

    role = "registry"
    default = "docker"

    @hook
    def pull_image(self, reference: ImageReference, layout: Path, session: Session) -> AbstractContextManager[ImageSource]:
        """Offer to bring an image of a registry into an OCI image layout on disk, readable while it comes.

        Entering looks the reference up, once, and ends when the manifest for this machine's platform and the configuration are
        in the layout, verified. The layers follow; what the layout has already is not fetched again. Leaving without an
        exception waits until all of them are there and verified; leaving with one ends the work at once.

        The layout keeps the registry's own bytes, so that digests are the registry's; it can be read at any time, and finds the
        image by either digest, of the manifest or of the index that the reference names. One pull at a time writes to a layout,
        and others wait until all of it has come. What is left half-way is never taken as complete by a later pull.

        :param reference: by tag or digest; always by digest where the image has to be signed.
        :param layout: a directory to make or to add to.
        :raises TerraError: as the registry said it, or because the image is not what it has to be.
        """

    @hook
    def inspect_image(self, reference: ImageReference, session: Session) -> ImageDocuments:
        """Look an image up in its registry, and fetch its documents only.

        :raises TerraError: as :meth:`pull_image` does.
        """

    @hook
    def fetch_signatures(self, reference: ImageReference, digest: Digest, session: Session) -> Sequence[FoundSignature]:
        """Fetch what the registry has beside an image that may be a signature of it, in the forms that cosign writes.

        Verify nothing: core does.

        :param reference: the image, whose repository is looked at.
        :param digest: of the manifest or index that would have been signed.
        :returns: everything that was found, in any order; none where the registry has none.
        :raises TerraError: as the registry said it.
        """

    @optional
    def check_push(self, reference: ImageReference, session: Session) -> None:
        """Check that a registry answers and accepts a push, before an image is made ready for it.

        :raises TerraError: when it would not. Without this hook, :meth:`push_image` finds out.
        """

    @hook
    def push_image(
        self, reference: ImageReference, image: PortableImage, bases: Sequence[ImageReference], session: Session
    ) -> str:
        """Push an image under a name, and give it that name last.

        A layer that is not compressed may go in any form; where the registry has it already, in a base or in the image of that
        name before this one, that form is to be taken, so that machines find that they have it. All others go as they are.

        :param reference: by tag.
        :param image: what is pushed: its configuration goes as it is.
        :param bases: images that it stands on.
        :returns: the digest of the manifest that the registry took.
        :raises TerraError: as the registry said it.
        """
