"""What builds leave behind and nobody needs any more: https://docs.docker.com/reference/api/engine/, the ``prune`` requests."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from docker.errors import DockerException

from terra_core.errors import TerraError
from terra_docker.build import LABEL
from terra_docker.engine import connected
from terra_docker.settings import Docker


@frozen
class Pruned:
    """What was removed.

    :param count: how many images, containers and pieces of the cache.
    :param bytes: the space that came free.
    """

    count: int
    bytes: int


def prune(settings: Docker, seconds: int, *, build_cache: bool = False) -> Pruned:
    """Remove images that lost their name and containers that have ended, if Terra made them; never others'.

    :param seconds: how old they have to be.
    :param build_cache: remove old parts of BuildKit's cache too, of all builds: their makers are not recorded.
    :raises TerraError: when the engine can't.
    """
    old = {"until": [f"{seconds}s"]}
    ours = {**old, "label": [LABEL]}
    client: Any  # the stubs leave these calls out, or know other filters
    count = freed = 0
    with connected(settings) as client:
        try:
            containers = client.prune_containers(filters=ours)
            images = client.prune_images(filters={**ours, "dangling": ["true"]})
            cache = client.prune_builds(filters=old) if build_cache else {}
        except DockerException as error:
            raise TerraError(f"the engine can't prune: {error}") from error
    for answer, key in ((containers, "ContainersDeleted"), (images, "ImagesDeleted"), (cache, "CachesDeleted")):
        removed = [entry for entry in answer.get(key) or () if not isinstance(entry, dict) or "Deleted" in entry]
        count += len(removed)
        freed += int(answer.get("SpaceReclaimed") or 0)
    return Pruned(count, freed)
