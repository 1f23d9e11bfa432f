"""The roles ``builder``, with a Docker Engine, and ``registry``, with the configuration of a user of Docker."""

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
    from terra_docker.settings import Docker


class DockerPlugin:
    """Builds with a Docker Engine; moves images without one."""

    contract = CONTRACT

    @property
    def settings(self) -> type[Docker]:
        """Return the model of ``[docker]``."""
        from terra_docker.settings import Docker

        return Docker

    @hookimpl
    def build_image(self, build: BuildRequest, session: Session) -> BuiltImage:
        """Build with the engine's own builder."""
        from terra_docker.build import build_image  # here and below, so that finding the plugin stays cheap
        from terra_docker.settings import NAME, Docker

        return build_image(build, session.settings(NAME, Docker), session.report)

    @hookimpl
    def save_image(self, image: str, work: Path, session: Session) -> AbstractContextManager[PortableImage]:
        """Read an image of the engine from what ``docker save`` gives."""
        from terra_docker.save import saved_image
        from terra_docker.settings import NAME, Docker

        return saved_image(image, work, session.settings(NAME, Docker), session.report)

    @hookimpl
    def try_image(self, image: str, seconds: float, session: Session) -> Trial:
        """Start an image's system as a container."""
        from terra_docker.settings import NAME, Docker
        from terra_docker.trial import try_image

        return try_image(image, seconds, session.settings(NAME, Docker), session.report)

    @hookimpl
    def pull_image(
        self, reference: ImageReference, layout: Path, session: Session
    ) -> AbstractContextManager[ImageSource]:
        """Pull into an OCI image layout, with the credentials of ``docker login``."""
        from terra_core.registry.pull import pulled
        from terra_docker.access import access_for

        return pulled(reference, layout, access_for(reference, session), session.report)

    @hookimpl
    def pull_layers(
        self, reference: ImageReference, layers: Sequence[Digest], layout: Path, session: Session
    ) -> AbstractContextManager[ImageSource]:
        """Pull some layers into an OCI image layout, with the credentials of ``docker login``."""
        from terra_core.registry.pull import pulled
        from terra_docker.access import access_for

        return pulled(reference, layout, access_for(reference, session), session.report, layers=layers)

    @hookimpl
    def inspect_image(self, reference: ImageReference, session: Session) -> ImageDocuments:
        """Ask the registry, with the credentials of ``docker login``."""
        from terra_core.registry.pull import inspected
        from terra_docker.access import access_for

        return inspected(reference, access_for(reference, session), session.report)

    @hookimpl
    def fetch_signatures(
        self, reference: ImageReference, digest: Digest, session: Session
    ) -> Sequence[FoundSignature]:
        """Look where cosign puts them."""
        from terra_core.registry.pull import signatures_of
        from terra_docker.access import access_for

        return signatures_of(reference, digest, access_for(reference, session), session.report)

    @hookimpl
    def check_push(self, reference: ImageReference, session: Session) -> None:
        """Ask the registry, with the credentials of ``docker login``."""
        from terra_core.registry.push import check_push
        from terra_docker.access import access_of_push

        check_push(reference, access_of_push(reference, session), session.report)

    @hookimpl
    def push_image(
        self, reference: ImageReference, image: PortableImage, bases: Sequence[ImageReference], session: Session
    ) -> str:
        """Upload it, with the credentials of ``docker login``."""
        from terra_core.registry.push import push_image
        from terra_docker.access import access_of_push

        return push_image(reference, image, access_of_push(reference, session), session.report, bases=bases)


plugin = DockerPlugin()
"""What the entry point loads."""
