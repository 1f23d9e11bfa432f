"""What containers use, from their control groups (cgroups(7)), where asking the engine would take seconds."""

from __future__ import annotations

import time
from pathlib import Path

from attrs import frozen

from terra_core.system.reading import lines_of

_ROOT = Path("/sys/fs/cgroup")


@frozen(kw_only=True)
class Usage:
    """What a container uses.

    :param seconds: processor time since it started, in seconds.
    :param memory: memory in bytes, without what can be dropped at any time.
    :param pids: its tasks.
    :param at: when this was so, in seconds of the monotonic clock.
    """

    seconds: float
    memory: int
    pids: int
    at: float


def read_usage(pid: int, engine_id: str) -> Usage | None:
    """Return what the container of a process uses; ``None`` when it is gone.

    :param pid: its first process.
    :param engine_id: the engine's id, which is part of the names of its groups.
    """
    try:
        groups = parse_groups(Path(f"/proc/{pid}/cgroup").read_text(), engine_id)
        if "memory" in groups:
            return _of_version_1(groups)
        return _of_version_2(groups[""])
    except (OSError, KeyError, ValueError, StopIteration):
        return None


def parse_groups(text: str, engine_id: str) -> dict[str, str]:
    """Return the container's own group in each hierarchy, by controller; a systemd inside may have moved its processes."""
    groups = {}
    for line in lines_of(text):
        _, controllers, path = line.split(":", 2)
        parts = path.split("/")
        own = next((at for at, part in enumerate(parts) if engine_id[:12] in part), len(parts) - 1)
        for controller in controllers.split(","):
            groups[controller] = "/".join(parts[: own + 1])
    return groups


def _of_version_1(groups: dict[str, str]) -> Usage:
    memory = _ROOT / "memory" / groups["memory"].lstrip("/")
    used = int((memory / "memory.usage_in_bytes").read_text())
    return Usage(
        seconds=int((_ROOT / "cpuacct" / groups["cpuacct"].lstrip("/") / "cpuacct.usage").read_text()) / 10**9,
        memory=max(0, used - _stat(memory / "memory.stat", "total_inactive_file")),
        pids=int((_ROOT / "pids" / groups["pids"].lstrip("/") / "pids.current").read_text()),
        at=time.monotonic(),
    )


def _of_version_2(group: str) -> Usage:
    place = _ROOT / group.lstrip("/")
    used = int((place / "memory.current").read_text())
    return Usage(
        seconds=_stat(place / "cpu.stat", "usage_usec") / 10**6,
        memory=max(0, used - _stat(place / "memory.stat", "inactive_file")),
        pids=int((place / "pids.current").read_text()),
        at=time.monotonic(),
    )


def _stat(path: Path, key: str) -> int:
    return next(int(line.split()[1]) for line in lines_of(path.read_text()) if line.startswith(f"{key} "))
