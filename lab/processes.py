"""Which processes run, and how to end those that a part of the lab left."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import frozen

from terra_core.errors import TerraError
from terra_core.system.processes import read_stat
from terra_core.system.waiting import wait_until

WATCHED = ("tgtd", "dnsmasq", "qemu-system", "dockerd", "containerd", "docker-registr", "skopeo", "umoci", "mkfs.btrfs",
           "nbdkit", "lighttpd", "keepalived", "btrfs", "mmdebstrap", "terra", "orbit-server", "dhcp", "ceph-",
           "qemu-storage")  # fmt: skip
"""Beginnings of the names of the programs that Terra and the lab run; the kernel cuts a name after 15 characters."""


@frozen(order=True)
class Process:
    """One process of this machine.

    :param pid: its id.
    :param parent: the id of the process that it belongs to.
    :param started: when it started, in clock ticks since boot; with the id, it names the process for good.
    :param name: the program, as the kernel knows it.
    :param command: its arguments, joined by spaces.
    """

    pid: int
    parent: int
    started: int
    name: str
    command: str

    @property
    def watched(self) -> bool:
        """Whether it is one of the programs that Terra and the lab run."""
        return self.name.startswith(WATCHED)

    @property
    def alive(self) -> bool:
        """Whether it still runs; a zombie does not."""
        now = _read(self.pid)
        return now is not None and now.started == self.started


def running(chosen: Callable[[Process], bool] = lambda process: True) -> list[Process]:
    """Return every process for which ``chosen`` is true, except kernel threads and zombies."""
    found = (_read(int(entry)) for entry in os.listdir("/proc") if entry.isdigit())  # noqa: PTH208  # twice as fast
    return sorted(process for process in found if process is not None and chosen(process))


def zombies(parent: int) -> list[int]:
    """Return the children of process ``parent`` that have ended and that it has not waited for."""
    found = ((int(entry), read_stat(int(entry))) for entry in os.listdir("/proc") if entry.isdigit())  # noqa: PTH208  # twice as fast
    return sorted(pid for pid, stat in found if stat is not None and stat.state == "Z" and stat.parent == parent)


def in_namespace(path: Path) -> list[Process]:
    """Return the processes in the network namespace that is bound to ``path``, except this one."""
    wanted = path.stat().st_ino

    def inside(process: Process) -> bool:
        try:
            return process.pid != os.getpid() and Path(f"/proc/{process.pid}/ns/net").stat().st_ino == wanted
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return False

    return running(inside)


def mount_namespace(process: str) -> str:
    """Return the name of a process's mount namespace; an empty string when there is no such process.

    :param process: its id, or ``self``.
    """
    try:
        return str(Path(f"/proc/{process}/ns/mnt").readlink())
    except OSError:
        return ""


def mentioning(paths: Sequence[Path]) -> list[Process]:
    """Return the watched programs that have one of ``paths``, or something below it, among their arguments."""
    return running(lambda process: process.watched and any(str(path) in process.command for path in paths))


def end(processes: Sequence[Process], *, seconds: float = 10) -> None:
    """End processes: by SIGTERM, and after ``seconds`` by SIGKILL; one that has ended by itself is no error."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in processes:
            if process.alive:
                _send(process.pid, number)
        if gone(processes, seconds=seconds):
            return


def gone(processes: Sequence[Process], *, seconds: float) -> bool:
    """Wait until none of ``processes`` runs; return whether that happened within ``seconds``."""
    try:
        wait_until(lambda: not any(process.alive for process in processes), seconds=seconds, what="processes to end")
    except TerraError:
        return False
    return True


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _read(pid: int) -> Process | None:
    stat = read_stat(pid)
    if stat is None or stat.state in "ZX":
        return None
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    words = command.decode(errors="replace").replace("\0", " ").strip()
    return Process(pid, stat.parent, int(stat.started), stat.name, words) if words else None
