"""Taking away the mounts below a directory."""

from __future__ import annotations

from pathlib import Path

from terra_core.system.mounts import mount_points
from terra_core.system.process import run


def mounts_below(directory: Path) -> list[str]:
    """Return the mount points at or below ``directory``, the last one mounted first."""
    root = str(directory.resolve())
    points = [str(mount.path) for mount in reversed(mount_points())]
    return [point for point in points if point == root or point.startswith(f"{root}/")]


def unmount_below(directory: Path) -> None:
    """Take away every mount at or below ``directory``; one that is in use goes when its last user does."""
    for point in mounts_below(directory):
        run(["umount", "--lazy", point], accept=(0, 1, 32))
