"""What a test run can leave behind: mounts, loop devices, network namespaces, links, and daemons; only its own count."""

from __future__ import annotations

import os
import re
from pathlib import Path

from attrs import frozen

from lab.isolation import Isolation
from lab.place import NAMESPACES
from lab.processes import Process, running
from terra_core.errors import TerraError
from terra_core.system.mounts import mount_points

_LINK = re.compile(r"br\d+|tap[0-9a-f]*|ob\w*|h\d+|veth[0-9a-f]{8}")
"""The names that the lab's networks, Orbit's bridges and the plugins of CNI give; Docker's own veth have seven digits."""


@frozen(kw_only=True)
class Leaks:
    """Everything of these kinds that exists now, one readable line each.

    :param mounts: every mount in the run's namespace, aside from those that bind network namespaces.
    :param loops: every loop device with a file of the run's.
    :param namespaces: every network namespace that has a name for the run.
    :param links: every network interface of the host that is named as those are which Terra and the lab make.
    :param processes: every program that Terra and the lab run, if the run started it.
    """

    mounts: frozenset[str]
    loops: frozenset[str]
    namespaces: frozenset[str]
    links: frozenset[str]
    processes: frozenset[str]

    @property
    def lines(self) -> frozenset[str]:
        """All of it."""
        return self.mounts | self.loops | self.namespaces | self.links | self.processes


def snapshot() -> Leaks:
    """Look at what there is now of this run; starts no program.

    :raises TerraError: when this process is not isolated, so that nobody can tell whose things they are.
    """
    isolation = Isolation.current
    if isolation is None:
        raise TerraError("this process has no mounts of its own yet, and cannot tell its leaks from others'")
    return Leaks(
        mounts=frozenset(f"mount {one.path} ({one.source})" for one in mount_points() if not _binds_namespace(one.path)),
        loops=frozenset(f"loop device {device} ({file})" for device, file in _loops() if isolation.owns_file(file)),
        namespaces=frozenset(f"network namespace {path.name}" for path in NAMESPACES.glob("*")),
        links=frozenset(f"network interface {name}" for name in _links()),
        processes=frozenset(f"process {process.pid}: {process.command}" for process in _processes(isolation)),
    )


def difference(before: Leaks, after: Leaks) -> list[str]:
    """Return what ``after`` has and ``before`` had not, one line each."""
    return sorted(after.lines - before.lines)


def _binds_namespace(point: Path) -> bool:
    return point.is_relative_to(NAMESPACES)


def _loops() -> list[tuple[str, str]]:
    """Return every loop device in use and its file, which ends in "(deleted)" when it is gone."""
    found = []
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            found.append((f"/dev/{path.parts[3]}", path.read_text().strip()))
        except OSError:
            continue  # it was detached since it was listed
    return found


def _links() -> list[str]:
    """Return the interfaces with names of the lab's: the kernel does not store who made an interface."""
    names = [path.name for path in Path("/sys/class/net").iterdir()]
    return [name for name in names if _LINK.fullmatch(name)]


def _processes(isolation: Isolation) -> list[Process]:
    """Return the run's processes: those that carry its marks, or that one of them started, as an engine does a container."""
    everything = {process.pid: process for process in running()}
    this = os.getpid()

    def own(process: Process) -> bool:
        line = [process, *_ancestry(everything, process.pid)]
        return any(ancestor.pid == this or isolation.owns_process(ancestor) for ancestor in line)

    return [process for process in everything.values() if process.watched and process.pid != this and own(process)]


def _ancestry(everything: dict[int, Process], pid: int) -> list[Process]:
    """From the parent up, without init."""
    found: list[Process] = []
    parent = everything[pid].parent
    while parent > 1 and parent in everything:
        found.append(everything[parent])
        parent = everything[parent].parent
    return found
