"""Terra's registry role, on a Docker Engine."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from terra_core.config.session import Session
from terra_core.config.trust import Trust
from terra_core.config.values import ImageReference
from terra_core.hookspecs import CONTRACT, BuildRequest, BuiltImage, Trial, hookimpl

if TYPE_CHECKING:
    from terra_core.oci.source import ImageDocuments, ImageSource  # slow to import


class DockerPlugin:
    """Builds and pushes with a Docker Engine; pulls without one."""

    contract = CONTRACT

    @hookimpl
    def build_image(self, build: BuildRequest, session: Session) -> BuiltImage:
        """Build with the engine's own builder."""
        from terra_docker.build import build_image  # here and below, so that finding the plugin stays cheap
        from terra_docker.settings import NAME, Docker

        return build_image(build, session.settings(NAME, Docker), session.report)

    @hookimpl
    def push_image(self, reference: ImageReference, session: Session) -> str:
        """Upload an image of the engine, with the credentials of ``docker login``."""
        from terra_docker.access import access_for
        from terra_docker.push import push_named
        from terra_docker.settings import NAME, Docker

        settings = session.settings(NAME, Docker)
        return push_named(reference, settings, access_for(reference, session), session.report)

    @hookimpl
    def save_image(self, image: str, work: Path, session: Session) -> AbstractContextManager[ImageSource]:
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
        self, reference: ImageReference, layout: Path, session: Session, trust: Sequence[Trust]
    ) -> AbstractContextManager[ImageSource]:
        """Pull into an OCI image layout, with the credentials of ``docker login``."""
        from terra_core.registry.pull import pulled
        from terra_docker.access import access_for

        return pulled(reference, layout, access_for(reference, session), session.report, trust)

    @hookimpl
    def inspect_image(self, reference: ImageReference, session: Session, trust: Sequence[Trust]) -> ImageDocuments:
        """Ask the registry, with the credentials of ``docker login``."""
        from terra_core.registry.pull import inspected
        from terra_docker.access import access_for

        return inspected(reference, access_for(reference, session), session.report, trust)


plugin = DockerPlugin()
"""What the entry point loads."""
