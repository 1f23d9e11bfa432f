"""What work on a machine can leave behind: mounts, loop devices, network namespaces, links, and daemons."""

from __future__ import annotations

import os
from pathlib import Path

from attrs import frozen

from lab.place import NAMESPACES
from lab.processes import Process, running
from terra_core.system.mounts import mount_points


@frozen(kw_only=True)
class Leaks:
    """What there is of everything that can be left behind, one readable line each.

    :param mounts: every mount, aside from those that bind network namespaces.
    :param loops: every loop device in use, with its file.
    :param namespaces: every network namespace that has a name.
    :param links: every network interface of the host.
    :param processes: every program that Terra and the lab run, unless it belongs to another session on this machine.
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
    """Look at what there is now; starts no program."""
    return Leaks(
        mounts=frozenset(f"mount {one.path} ({one.source})" for one in mount_points() if not _binds_namespace(one.path)),
        loops=frozenset(_loops()),
        namespaces=frozenset(f"network namespace {path.name}" for path in NAMESPACES.glob("*")),
        links=frozenset(f"network interface {path.name}" for path in Path("/sys/class/net").iterdir()),
        processes=frozenset(f"process {process.pid}: {process.command}" for process in _own_processes()),
    )


def difference(before: Leaks, after: Leaks) -> list[str]:
    """What ``after`` has that ``before`` had not, one line each."""
    return sorted(after.lines - before.lines)


def _binds_namespace(point: Path) -> bool:
    return point.is_relative_to(NAMESPACES)


def _loops() -> list[str]:
    found = []
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            found.append(f"loop device /dev/{path.parts[3]} ({path.read_text().strip()})")
        except OSError:
            continue  # it was detached since it was listed
    return found


def _own_processes() -> list[Process]:
    everything = {process.pid: process for process in running()}
    this = os.getpid()
    above = {process.pid for process in _ancestry(everything, this)}

    def own(process: Process) -> bool:
        """Below this process; or an orphan that started after it, whose starter is not known any more."""
        line = [process, *_ancestry(everything, process.pid)]
        if any(ancestor.pid == this for ancestor in line):
            return True
        orphaned = line[-1].parent in (0, 1) and line[-1].started >= everything[this].started
        return orphaned and not any(ancestor.pid in above for ancestor in line)

    return [process for process in everything.values() if process.watched and own(process)]


def _ancestry(everything: dict[int, Process], pid: int) -> list[Process]:
    """From the parent up, without init."""
    found: list[Process] = []
    parent = everything[pid].parent
    while parent > 1 and parent in everything:
        found.append(everything[parent])
        parent = everything[parent].parent
    return found
