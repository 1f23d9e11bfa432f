"""The roots at the top of a btrfs file system, one beside the other (btrfs-subvolume(8))."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from terra_btrfs.nested import delete_nested
from terra_core.errors import TerraError
from terra_core.hookspecs import Roots
from terra_core.system.mounts import mounted
from terra_core.system.process import run

_ROOT_INODE = 256
"""The inode number of the top of every subvolume."""
_SECONDS = 600  # a snapshot writes first what its origin still has in memory
_NONE = "is no subvolume of a btrfs file system"


@contextmanager
def open_roots(root: Path, work: Path) -> Iterator[Roots]:
    """Offer every subvolume at the top of the file system that a mounted root is a subvolume of.

    :param work: an empty directory to mount in.
    :raises TerraError: when the root is no such subvolume.
    """
    found = run(["findmnt", "--noheadings", "--nofsroot", "--output", "FSTYPE,SOURCE", "--target", root], accept=(0, 1))
    kind, _, device = found.text.strip().partition(" ")
    if kind != "btrfs":
        raise TerraError(f"{root}: {_NONE}")
    top = work / "top"
    top.mkdir()
    # "degraded" counts for a file system that is not mounted yet, and this one is. A time of access that is set in a copy takes
    # room for the whole piece of metadata that it is in, which was shared until then.
    with mounted(Path(device.strip()), top, filesystem="btrfs", options=("subvolid=5", "noatime")):
        places = {place.name: place for place in top.iterdir() if not place.is_symlink() and _is_subvolume(place)}
        running = next((name for name, place in places.items() if os.path.samestat(place.stat(), root.stat())), None)
        if running is None:
            raise TerraError(f"{root}: {_NONE} at its top")
        yield Roots(places=places, running=running, top=top)
    top.rmdir()


def copy_root(source: Path | None, target: Path) -> bool:
    """Make a snapshot of a subvolume, or an empty subvolume."""
    run(["btrfs", "subvolume", *(["snapshot", source] if source else ["create"]), target], timeout=_SECONDS)
    if source is None:
        target.chmod(0o755)  # independent of the caller's umask
    return True


def remove_root(target: Path) -> bool:
    """Remove a subvolume, with those that were made within it; its blocks are freed in the background.

    :raises TerraError: when one of them cannot be removed.
    """
    try:
        delete_nested(target)
    except OSError as error:
        raise TerraError(f"{target}: a subvolume within it cannot be removed: {error.strerror}") from error
    run(["btrfs", "subvolume", "delete", target], timeout=_SECONDS)
    return True


def _is_subvolume(place: Path) -> bool:
    return place.is_dir() and place.stat().st_ino == _ROOT_INODE
