"""Pushing an image of the engine to its registry, with the times of its build rewritten.

The engine has a push of its own, which takes an image as it is, the times of its build included, and knows registries and
credentials of its own. What is uploaded here is the same whenever and wherever it was built.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

import requests
from attrs import evolve, frozen
from docker import APIClient
from docker.errors import APIError, DockerException, ImageNotFound

from terra_core.config.values import ImageReference, parse_image_reference
from terra_core.errors import NotFoundError, TerraError
from terra_core.oci.repacking import Repacking, repack
from terra_core.registry import RegistryAccess
from terra_core.registry.progress import explained
from terra_core.registry.push import check_name, check_push, push_image
from terra_core.system.progress import Report
from terra_core.system.reasons import reason_of
from terra_core.system.undo import Undo
from terra_core.system.workspace import image_workspace
from terra_docker.access import registry_access
from terra_docker.build import LABEL, labelled_base, labelled_epoch
from terra_docker.engine import connected, goes_without_tls
from terra_docker.failures import ENGINE_LIST
from terra_docker.save import saved
from terra_docker.settings import Docker


@frozen(kw_only=True)
class Origin:
    """What an image was built from.

    :param epoch: no time of its own layers is later than this, in seconds since 1970; ``None`` leaves all as they are.
    :param bases: the images that it stands on, whose layers stay as they are.
    """

    epoch: int | None = None
    bases: Sequence[str] = ()


def push_named(reference: ImageReference, settings: Docker, access: RegistryAccess, report: Report) -> str:
    """Push an image of the engine that has its name; an image that was built here says by its labels what it was built from.

    :returns: the digest of the manifest that the registry took.
    :raises TerraError: as the registry or the engine said it.
    """
    check_name(reference)
    with connected(settings) as client:
        try:
            found = client.inspect_image(str(reference))  # type: ignore[no-untyped-call]  # the stubs leave it out
        except ImageNotFound as error:
            raise NotFoundError(f"pushing {reference}: the engine has no such image") from error
        except (DockerException, requests.RequestException) as error:
            raise TerraError(f"pushing {reference}: the engine went away: {reason_of(error)}") from error
        labels = found["Config"].get("Labels") or {}
        origin = Origin()
        if LABEL in labels:
            base = labelled_base(labels)
            origin = Origin(epoch=labelled_epoch(labels), bases=(base,) if base else ())
        return push(client, found["Id"], reference, origin, access, report)


def push_as_it_is(client: APIClient, reference: ImageReference, report: Report) -> str:
    """Push an image of an engine that was not built here, to registries as the engine's own configuration reaches them.

    Credentials are those of ``docker login``. Terra's applications call this too.

    :returns: the digest of the manifest that the registry took.
    :raises TerraError: as the registry or the engine said it.
    """
    access = evolve(registry_access(Docker()), insecure_hint=lambda registry: ENGINE_LIST)
    return push(client, str(reference), reference, Origin(), access, report)


def push(
    client: APIClient, image: str, reference: ImageReference, origin: Origin, access: RegistryAccess, report: Report
) -> str:
    """Push an image of the engine.

    :param image: its id, or its name.
    :param access: how registries are reached; those that the engine goes to without TLS may do without it here too.
    :returns: the digest of the manifest that the registry took.
    :raises TerraError: as the registry or the engine said it.
    """
    doing = f"pushing {reference}"
    with engine_at_hand(doing), Undo() as stack:
        if goes_without_tls(client, reference.registry):
            access = access.without_tls(reference.registry)
        check_push(reference, access, report)
        with explained(doing):
            work = stack.enter_context(image_workspace())
            archive = stack.enter_context(saved(client, image, work, report))
            repacking = Repacking(epoch=origin.epoch, kept=layers_of(client, origin.bases), compress=True)
            repacked = repack(archive, work / "layout", repacking, report)
        return push_image(reference, repacked, access, report, bases=list(_references(origin.bases)))


@contextmanager
def engine_at_hand(doing: str) -> Iterator[None]:
    """Say that it was the engine that failed, in a block that asks nobody else by the same library."""
    try:
        yield
    except (DockerException, requests.RequestException) as error:
        raise TerraError(f"{doing}: the engine went away: {reason_of(error)}") from error


def layers_of(client: APIClient, images: Iterable[str]) -> set[str]:
    """Return the digests of the uncompressed layers of images that the engine has."""
    layers: set[str] = set()
    for name in images:
        with suppress(APIError):  # named by an argument, or known to BuildKit alone
            found = client.inspect_image(name)  # type: ignore[no-untyped-call]  # the stubs leave it out
            layers |= set(found["RootFS"].get("Layers") or ())
    return layers


def _references(names: Iterable[str]) -> Iterator[ImageReference]:
    for name in names:
        with suppress(ValueError):
            yield parse_image_reference(name)
