"""How registries are reached, according to ``docker login`` and the ``[docker]`` table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import requests
from docker.errors import DockerException

from terra_core.config.session import Session
from terra_core.config.values import ImageReference
from terra_core.errors import InterruptedWork, TerraError
from terra_core.registry import Mirror, RegistryAccess
from terra_docker.credentials import stored_credentials
from terra_docker.engine import connected, goes_without_tls
from terra_docker.settings import NAME, Docker

_CERTIFICATES = Path("/etc/docker/certs.d")


def registry_access(settings: Docker) -> RegistryAccess:
    """Return how registries are reached, with the credentials of ``docker login``."""

    def mirrors(reference: ImageReference) -> Sequence[Mirror]:
        return [Mirror(name, reference.path) for name in settings.mirrors.get(reference.registry, ())]

    return RegistryAccess(
        credentials=stored_credentials,
        mirrors=mirrors,
        insecure=settings.insecure,
        certificates=(_CERTIFICATES,),
        login_hint=lambda registry: f"log in: docker login {registry}",
        insecure_hint=lambda registry: f'name it in the configuration: [docker] insecure = ["{registry}"]',
    )


def access_for(reference: ImageReference, session: Session) -> RegistryAccess:
    """Return how registries are reached in a session, the one of ``reference`` without TLS where the session says so."""
    access = registry_access(session.settings(NAME, Docker))
    return access.without_tls(reference.registry) if session.plain_http else access


def access_of_push(reference: ImageReference, session: Session) -> RegistryAccess:
    """Return the same for a push, which goes without TLS where the engine does, if there is an engine."""
    access, settings = access_for(reference, session), session.settings(NAME, Docker)
    try:
        with connected(settings) as client:
            return access.without_tls(reference.registry) if goes_without_tls(client, reference.registry) else access
    except InterruptedWork:
        raise
    except (TerraError, DockerException, requests.RequestException):  # pushing needs none
        return access
