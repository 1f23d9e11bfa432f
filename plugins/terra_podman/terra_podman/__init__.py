"""Terra's roles ``builder``, on Podman, and ``registry``, as a user of the containers tools has it set up."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from terra_core.config.session import Session
from terra_core.config.values import ImageReference
from terra_core.hookspecs import CONTRACT, BuildRequest, BuiltImage, Trial, hookimpl

if TYPE_CHECKING:
    from terra_core.hookspecs import FoundSignature  # these are slow to import
    from terra_core.oci import Digest
    from terra_core.oci.source import ImageDocuments, ImageSource, PortableImage
    from terra_podman.settings import Podman


class PodmanPlugin:
    """Builds with Podman, and moves images as its configuration says."""

    contract = CONTRACT

    @property
    def settings(self) -> type[Podman]:
        """Return the model of ``[podman]``."""
        from terra_podman.settings import Podman

        return Podman

    @hookimpl
    def build_image(self, build: BuildRequest, session: Session) -> BuiltImage:
        """Build with ``podman build``."""
        from terra_podman.build import build_image  # here and below, so that finding the plugin stays cheap
        from terra_podman.settings import NAME, Podman

        return build_image(build, session.settings(NAME, Podman), session.report)

    @hookimpl
    def save_image(self, image: str, work: Path, session: Session) -> AbstractContextManager[PortableImage]:
        """Read an image of Podman's storage from what ``podman save`` writes."""
        from terra_podman.save import saved_image
        from terra_podman.settings import NAME, Podman

        return saved_image(image, work, session.settings(NAME, Podman), session.report)

    @hookimpl
    def try_image(self, image: str, seconds: float, session: Session) -> Trial:
        """Start an image's system with ``podman run --systemd=always``."""
        from terra_podman.settings import NAME, Podman
        from terra_podman.trial import try_image

        return try_image(image, seconds, session.settings(NAME, Podman), session.report)

    @hookimpl
    def pull_image(
        self, reference: ImageReference, layout: Path, session: Session
    ) -> AbstractContextManager[ImageSource]:
        """Pull into an OCI image layout, from where registries.conf says."""
        from terra_podman.routes import pulled_image

        return pulled_image(reference, layout, session)

    @hookimpl
    def pull_layers(
        self, reference: ImageReference, layers: Sequence[Digest], layout: Path, session: Session
    ) -> AbstractContextManager[ImageSource]:
        """Pull some layers into an OCI image layout, from where registries.conf says."""
        from terra_podman.routes import pulled_image

        return pulled_image(reference, layout, session, layers)

    @hookimpl
    def inspect_image(self, reference: ImageReference, session: Session) -> ImageDocuments:
        """Ask the registries that registries.conf says."""
        from terra_podman.routes import inspected_image

        return inspected_image(reference, session)

    @hookimpl
    def fetch_signatures(
        self, reference: ImageReference, digest: Digest, session: Session
    ) -> Sequence[FoundSignature]:
        """Look where cosign puts them."""
        from terra_podman.routes import signatures

        return signatures(reference, digest, session)

    @hookimpl
    def check_push(self, reference: ImageReference, session: Session) -> None:
        """Ask the registry, with the credentials of ``podman login``."""
        from terra_core.registry.push import check_push
        from terra_podman.routes import access_of_push

        check_push(reference, access_of_push(reference, session), session.report)

    @hookimpl
    def push_image(
        self, reference: ImageReference, image: PortableImage, bases: Sequence[ImageReference], session: Session
    ) -> str:
        """Upload it, with the credentials of ``podman login``."""
        from terra_core.registry.push import push_image
        from terra_podman.routes import access_of_push

        return push_image(reference, image, access_of_push(reference, session), session.report, bases=bases)


plugin = PodmanPlugin()
"""What the entry point loads."""
