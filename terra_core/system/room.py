"""The room of a store, and of a file system."""

from __future__ import annotations

import os
from pathlib import Path

from attrs import frozen


@frozen(kw_only=True)
class Room:
    """The room of a store in bytes: all of it, what is free, and how much of that is kept for the volumes that there are."""

    size: int
    free: int
    reserve: int = 0


def measured(place: Path) -> dict[str, int]:
    """Return ``size`` and ``free``, in bytes, of the file system that a path is on, or will be on when it is made."""
    while not place.exists():
        place = place.parent
    found = os.statvfs(place)
    return {"size": found.f_blocks * found.f_frsize, "free": found.f_bavail * found.f_frsize}
