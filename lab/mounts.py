"""Which mounts there are, and how to take away those below a directory."""

from __future__ import annotations

import re
from pathlib import Path

from terra_core.system.process import run


def mounts() -> list[tuple[str, str]]:
    """Mount point and source of every mount that this process sees, in the order of proc_pid_mountinfo(5)."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
        left, right = line.split(" - ", 1)
        found.append((_plain(left.split(" ")[4]), _plain(right.split(" ")[1])))
    return found


def mounts_below(directory: Path) -> list[str]:
    """The mount points at or below ``directory``, the last one mounted first."""
    root = str(directory.resolve())
    return [point for point, _ in reversed(mounts()) if point == root or point.startswith(f"{root}/")]


def unmount_below(directory: Path) -> None:
    """Take away every mount at or below ``directory``; one that is in use goes when its last user does."""
    for point in mounts_below(directory):
        run(["umount", "--lazy", point], accept=(0, 1, 32))


def _plain(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)
