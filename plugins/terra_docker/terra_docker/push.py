"""Pushing an image of the engine to its registry, with the times of its build rewritten.

The engine has a push of its own, which takes an image as it is, the times of its build included, and knows registries and
credentials of its own. What is uploaded here does not depend on when and where it was built.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

import requests
from attrs import evolve
from docker import APIClient
from docker.errors import DockerException

from terra_core.config.values import ImageReference, parse_image_reference
from terra_core.errors import TerraError
from terra_core.hookspecs import BuiltImage
from terra_core.oci.repacking import Repacking, repack
from terra_core.registry import RegistryAccess
from terra_core.registry.progress import explained
from terra_core.registry.push import check_push, push_image
from terra_core.system.progress import Report
from terra_core.system.reasons import reason_of
from terra_core.system.undo import Undo
from terra_core.system.workspace import image_workspace
from terra_docker.access import registry_access
from terra_docker.engine import REMEDIES, goes_without_tls
from terra_docker.save import saved
from terra_docker.settings import Docker


def push_as_it_is(client: APIClient, reference: ImageReference, report: Report) -> str:
    """Push an image of an engine that was not built here, to registries as the engine's own configuration reaches them.

    Credentials are those of ``docker login``. Terra's applications call this too.

    :returns: the digest of the manifest that the registry took.
    :raises TerraError: as the registry or the engine said it.
    """
    access = evolve(registry_access(Docker()), insecure_hint=lambda registry: REMEDIES.without_tls)
    image = BuiltImage(reference=reference, id=str(reference), size=0)
    return push(client, image, reference, (), access, report)


def push(
    client: APIClient,
    image: BuiltImage,
    reference: ImageReference,
    bases: Sequence[str],
    access: RegistryAccess,
    report: Report,
) -> str:
    """Push an image of the engine.

    :param bases: the images that it stands on.
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
            archive = stack.enter_context(saved(client, image.id, work, report))
            repacking = Repacking(epoch=image.epoch, kept=image.base_layers, compress=True)
            repacked = repack(archive, work / "layout", repacking, report)
        return push_image(reference, repacked, access, report, bases=list(_references(bases)))


@contextmanager
def engine_at_hand(doing: str) -> Iterator[None]:
    """Report an error in a block that asks nobody but the engine as an error of the engine."""
    try:
        yield
    except (DockerException, requests.RequestException) as error:
        raise TerraError(f"{doing}: the engine went away: {reason_of(error)}") from error


def _references(names: Iterable[str]) -> Iterator[ImageReference]:
    for name in names:
        with suppress(ValueError):
            yield parse_image_reference(name)
