"""The errors of a mounted file system: it goes on after some of them, and does not report them when it is synchronised."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from terra_core.config.node import DiskGroup
from terra_core.errors import TerraError
from terra_core.system.mounts import mount_points

_BROKEN = frozenset({errno.EIO, errno.EROFS, errno.EUCLEAN})
"""The errors of a file system that has shut down (xfs), became read-only (ext4), or is damaged."""


def verify(group: DiskGroup, place: Path) -> bool:
    """Look at the errors that the kernel has counted, and whether a new file system still takes writes.

    :param place: where it is mounted.
    :raises TerraError: naming the disk.
    """
    device = _device_at(place)
    problem = _counted(device.name) or _refused(place)
    if problem:
        raise TerraError(
            f'group "{group.label}": {device}: {problem}',
            hint="the disk or its cable is broken, or the disk that its file is on is full; see dmesg(1)",
        )
    return True


def _device_at(place: Path) -> Path:
    """Return the device that is mounted; a file system that shut down does not tell it to stat(2)."""
    path = place.resolve()
    for point in reversed(mount_points()):
        if point.path == path:
            return Path("/dev") / (Path("/sys/dev/block") / point.number).resolve().name
    raise TerraError(f"{place}: nothing is mounted there")


def _counted(name: str) -> str:
    """Return the errors that ext4 has counted (Documentation/ABI/testing/sysfs-fs-ext4 of the kernel); else an empty string."""
    counters = Path("/sys/fs/ext4") / name
    try:
        number, function = ((counters / name).read_text().strip() for name in ("errors_count", "first_error_func"))
    except OSError:
        return ""
    return "" if number == "0" else f"errors that ext4 has met: {number}, the first in {function}"


def _refused(place: Path) -> str:
    """Return why nothing more can be written, or an empty string; a full file system is not such a reason."""
    try:
        os.close(os.open(place, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        return f"takes no writes any more: {error.strerror}" if error.errno in _BROKEN else ""
    return ""
