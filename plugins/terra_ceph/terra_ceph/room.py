"""The room of a pool, as the monitors know it."""

from __future__ import annotations

import json
import time
from threading import Lock
from typing import Any

from terra_ceph.cluster import Cluster
from terra_ceph.settings import NAME, Settings
from terra_core.config.session import Session
from terra_core.errors import NotFoundError
from terra_core.hookspecs import Room

_FRESH_SECONDS = 5.0
"""How often the cluster counts anew; to ask it takes half a second."""
_lock = Lock()
_known: dict[tuple[Cluster, str], tuple[float, dict[str, int]]] = {}


def room_of(session: Session) -> Room:
    """Return the room of the pool of a controller, in bytes of data: each of them takes several of the disks.

    :raises NotFoundError: when there is no such pool.
    :raises TerraError: when the cluster does not answer.
    """
    settings, cluster = session.settings(NAME, Settings), Cluster.of(session)
    key = (cluster, settings.pool)
    with _lock:
        at, found = _known.get(key, (0.0, {}))
        if not found or time.monotonic() - at > _FRESH_SECONDS:
            found = parse_room(cluster.ceph("df", "--format", "json").text, settings.pool)
            _known[key] = (time.monotonic(), found)
    return Room(**found, reserve=settings.reserved(found["size"]))


def parse_room(text: str, pool: str) -> dict[str, int]:
    """Return ``size`` and ``free`` of a pool, in bytes, from the output of ``ceph df``.

    :raises NotFoundError: when there is no such pool.
    """
    rows: list[dict[str, Any]] = json.loads(text)["pools"]
    for row in rows:
        if row["name"] == pool:
            stored, free = int(row["stats"]["stored"]), int(row["stats"]["max_avail"])
            return {"size": stored + free, "free": free}
    hint = f"make it: ceph osd pool create {pool} && rbd pool init {pool}"
    raise NotFoundError(f"the cluster has no pool {pool!r}", hint=hint)
