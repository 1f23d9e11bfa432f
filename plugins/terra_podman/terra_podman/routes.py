"""From a name to the registries that have the image, as registries.conf and auth.json say it to core's client."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import evolve, frozen

from terra_core.config.session import Session
from terra_core.config.values import ImageReference, pinned
from terra_core.errors import InterruptedWork, TerraError
from terra_core.hookspecs import FoundSignature
from terra_core.oci import Digest
from terra_core.oci.source import ImageDocuments, ImageSource
from terra_core.registry import Credentials, Mirror, RegistryAccess
from terra_core.registry.pull import inspected, pulled, signatures_of
from terra_core.system.progress import Event
from terra_podman.credentials import stored_credentials
from terra_podman.registries import Place, Registries, read_registries, refuse_blocked
from terra_podman.settings import NAME, Podman

_CERTIFICATES = ("/etc/containers/certs.d", "/etc/docker/certs.d")


@frozen
class Route:
    """How an image is pulled.

    :param reference: its name at the registry that has the last word.
    :param access: how that and its mirrors are reached.
    """

    reference: ImageReference
    access: RegistryAccess


@contextmanager
def pulled_image(
    reference: ImageReference, layout: Path, session: Session, layers: Collection[Digest] | None = None
) -> Iterator[ImageSource]:
    """Bring an image into a layout, as :func:`terra_core.registry.pull.pulled` does, from where registries.conf says.

    :raises TerraError: when its registry is blocked, besides.
    """
    route, _ = route_of(reference, session)
    with pulled(route.reference, layout, route.access, session.report, name=reference, layers=layers) as source:
        yield source


def inspected_image(reference: ImageReference, session: Session) -> ImageDocuments:
    """Look an image up, and fetch its documents only.

    :raises TerraError: as :func:`pulled_image` does.
    """
    route, found = route_of(reference, session)
    return found or inspected(route.reference, route.access, session.report)


def signatures(reference: ImageReference, digest: Digest, session: Session) -> Sequence[FoundSignature]:
    """Fetch what is beside an image that may be a signature of it.

    :raises TerraError: as the registry said it.
    """
    route, _ = route_of(pinned(reference, str(digest)), session)
    return signatures_of(route.reference, digest, route.access, session.report)


def access_of_push(reference: ImageReference, session: Session) -> RegistryAccess:
    """Return how the registry is reached that an image is pushed to.

    As with podman, that is the one that it names: a location and mirrors are for pulling.

    :raises TerraError: when it is blocked.
    """
    registries = read_registries()
    registries.check_whole(reference)
    entry = registries.entry(reference)
    refuse_blocked(reference, entry)
    place = Place(reference=reference, insecure=entry is not None and entry.insecure)
    return _access([place], registries, session, reference.registry if session.plain_http else "")


def route_of(reference: ImageReference, session: Session) -> tuple[Route, ImageDocuments | None]:
    """Find out where an image is pulled from.

    A tag is looked up at the mirrors in their order, as podman does it: the registry itself may be out of reach. What the first
    one says is pulled by its digest, for which core's client asks all of them.

    :returns: the route, and what the image is, where a mirror was asked for that already.
    """
    registries = read_registries()
    places = registries.places(reference)
    *mirrors, itself = places
    plain = itself.reference.registry if session.plain_http else ""
    if reference.digest:
        return Route(itself.reference, _access(places, registries, session, plain)), None
    for mirror in mirrors:
        try:
            found = inspected(mirror.reference, _access([mirror], registries, session, plain), session.report)
        except InterruptedWork:
            raise
        except TerraError as error:
            session.report(Event("pull", f"a mirror of {reference.registry} does not serve: {error.message}"))
            continue
        there = [evolve(place, reference=pinned(place.reference, str(found.named))) for place in places]
        return Route(there[-1].reference, _access(there, registries, session, plain)), found
    return Route(itself.reference, _access([itself], registries, session, plain)), None


def _access(places: Sequence[Place], registries: Registries, session: Session, plain: str) -> RegistryAccess:
    """Return how an image's registry and its mirrors are reached.

    A host that several of them are at does without TLS only where all of them may.

    :param places: the mirrors in their order, and last the registry itself.
    :param plain: a registry that may do without TLS whatever is configured.
    """
    settings = session.settings(NAME, Podman)
    *mirrors, itself = places
    checked = {place.reference.registry for place in places if not place.insecure}
    insecure = [place.reference.registry for place in places if place.reference.registry not in checked]

    def credentials(registry: str) -> Credentials | None:
        paths = [place.reference.path for place in (itself, *mirrors) if place.reference.registry == registry]
        repository = f"{registry}/{paths[0]}" if paths else registry
        return stored_credentials(repository, auth_file=settings.auth_file, helpers=registries.helpers)

    def mirrors_of(reference: ImageReference) -> Sequence[Mirror]:
        return [Mirror(place.reference.registry, place.reference.path) for place in mirrors]

    own = Path(os.environ.get("HOME", "/root"), ".config/containers/certs.d")
    access = RegistryAccess(
        credentials=credentials,
        mirrors=mirrors_of,
        insecure=insecure,
        certificates=(*map(Path, _CERTIFICATES), own),
        login_hint=lambda registry: f"log in: podman login {registry}",
        insecure_hint=lambda registry: (
            f'write to /etc/containers/registries.conf.d/terra.conf: [[registry]], location = "{registry}", insecure = true'
        ),
    )
    return access.without_tls(plain) if plain else access
