"""What upgrades and removals of versions have left on the disks that were killed."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from terra_core.config.node import OWN

STAGED = f"{OWN}/new"
"""Where a version is made, beside the others; it has no name of its own before it is whole."""
_KEPT = frozenset({"failed", "layers"})
"""What is kept in Terra's own directory: why versions were given up, and the layers of images."""
_SECTOR = 512
"""The unit of ``st_blocks`` (inode(7))."""


def half_of_version(top: Path) -> Path | None:
    """Return the half of a version that is left, or that an upgrade is making which goes on; ``None`` when there is none.

    :param top: the directory of all roots.
    """
    place = top / STAGED
    return place if place.is_dir() and not place.is_symlink() else None


def left_over(top: Path) -> int:
    """Return the room that is taken by what will be removed before a version is laid down, in bytes.

    :param top: the directory of all roots, on a file system where files of different roots share no blocks.
    """
    taken: dict[int, int] = {}  # by inode, as one may have several names
    for place in (top / OWN).glob("*"):
        if place.name in _KEPT:
            continue
        for directory, _, names in os.walk(place):
            for path in (directory, *(f"{directory}/{name}" for name in names)):
                with suppress(OSError):
                    status = os.lstat(path)
                    taken[status.st_ino] = status.st_blocks * _SECTOR
    return sum(taken.values())
