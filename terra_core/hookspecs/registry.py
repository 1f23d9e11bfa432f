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


class Registry(Role, role="registry", default="docker"):
    """Moving images from and to registries.

    A plugin knows how registries are reached, and fetches bytes; core checks their digests and signatures.
    :mod:`terra_core.registry` is a client that every plugin may use. The controller pulls several images at once, each in a
    thread of its own.
    """

    @hook
    def pull_image(self, reference: ImageReference, layout: Path, session: Session) -> AbstractContextManager[ImageSource]:
        """Offer to pull an image into an OCI image layout on disk, which can be read while the layers arrive.

        Entering looks the reference up, once, and returns when the manifest for this machine's platform and the configuration
        are in the layout, verified. The layers follow; those in the layout are not fetched again. Leaving without an exception
        waits until all layers are in the layout and verified; leaving with one ends the work at once.

        The layout keeps the registry's own bytes, so that digests are the registry's, and finds the image by either digest, of
        the manifest or of the index that the reference names. One pull at a time writes to a layout; others wait for its end. A
        later pull never takes a partial blob for a complete one.

        :param reference: by tag or digest; always by digest where the image has to be signed.
        :param layout: a directory to make or to add to.
        :raises TerraError: with the registry's message, or when the image is invalid.
        """

    @optional
    def pull_layers(
        self, reference: ImageReference, layers: Sequence[Digest], layout: Path, session: Session
    ) -> AbstractContextManager[ImageSource]:
        """Offer to pull an image of which only some layers will be read; all else is as of :meth:`pull_image`.

        :param layers: their digests; no other layer is fetched. Without this hook all of them are.
        """
        return self.pull_image(reference, layout, session)

    @hook
    def inspect_image(self, reference: ImageReference, session: Session) -> ImageDocuments:
        """Look an image up in its registry, and fetch its documents only; errors are those of :meth:`pull_image`."""

    @hook
    def fetch_signatures(self, reference: ImageReference, digest: Digest, session: Session) -> Sequence[FoundSignature]:
        """Return every possible signature of an image in the forms that cosign writes, in any order. Core verifies them.

        :param reference: the image, whose repository is searched.
        :param digest: of the manifest or index that a signature would be for.
        :raises TerraError: with the registry's message.
        """

    @optional
    def check_push(self, reference: ImageReference, session: Session) -> None:
        """Check that a registry answers and accepts a push, before an image is made ready for it.

        :raises TerraError: when it does not. Without this hook, :meth:`push_image` finds out.
        """

    @hook
    def push_image(
        self, reference: ImageReference, image: PortableImage, bases: Sequence[ImageReference], session: Session
    ) -> str:
        """Push an image, and give it its name last; return the digest of the manifest in the registry.

        Compressed layers and the configuration are pushed unchanged. A layer that is not compressed is pushed in the form that
        the registry has of it, in a base or in the former image of this name, so that machines need not fetch it again; if it
        has none, in any form.

        :param reference: by tag.
        :param bases: images that it is based on.
        :raises TerraError: with the registry's message.
        """
