"""Processes that this one did not start, or that outlived the one that started them: found, signalled and ended.

A process is named by its id together with its start time, because the kernel gives an id to another process once it is free.
See proc_pid_stat(5), pidfd_open(2) and pidfd_send_signal(2).
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from terra_core.errors import TerraError
from terra_core.system.process import reap

_NAME_LENGTH = 15
"""The kernel cuts the name of a program after so many characters (TASK_COMM_LEN)."""
_ENDED = "ZX"


@frozen
class Stat:
    """What the kernel says of a process.

    :param name: its program, cut after 15 characters.
    :param state: one letter, such as ``S`` for one that sleeps and ``Z`` for a zombie.
    :param parent: the id of its parent.
    :param started: when it started, in clock ticks since boot.
    """

    name: str
    state: str
    parent: int
    started: str


@frozen
class Process:
    """A process of this machine; one that got the same id later is another one.

    :param pid: its id.
    :param started: when it started, as :attr:`Stat.started` has it.
    """

    pid: int
    started: str

    @property
    def alive(self) -> bool:
        """Return whether it runs; a zombie does not."""
        return self.started != "" and start_time(self.pid) == self.started

    def signal(self, number: int) -> bool:
        """Send a signal to this very process; return whether it was there to get it.

        :raises PermissionError: when it belongs to another user.
        """
        with self._opened() as descriptor:
            if descriptor is None:
                return False
            try:
                signal.pidfd_send_signal(descriptor, number)
            except ProcessLookupError:
                return False
        return True

    def wait(self, seconds: float) -> bool:
        """Wait for its end, at most ``seconds``; return whether it has ended."""
        with self._opened() as descriptor:
            if descriptor is not None:
                end = select.poll()
                end.register(descriptor, select.POLLIN)
                if not end.poll(seconds * 1000):
                    return False
        reap()
        return True

    def stop(self, seconds: float = 10) -> None:
        """End it: by SIGTERM, and where that does not help within ``seconds``, by :meth:`kill`.

        :raises TerraError: when it does not end.
        """
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)  # a stopped process gets SIGTERM when it goes on
        if not self.wait(seconds):
            self.kill(seconds)

    def kill(self, seconds: float = 10) -> None:
        """End it by SIGKILL, and wait up to ``seconds`` until it has ended.

        :raises TerraError: when it does not end.
        """
        self.signal(signal.SIGKILL)
        if not self.wait(seconds):
            raise TerraError(
                f"process {self.pid} was killed and has not ended within {seconds:g} seconds",
                hint="it waits for a device or a file server in the kernel: the kernel's log may say for which",
            )

    @contextmanager
    def _opened(self) -> Iterator[int | None]:
        """Open a descriptor of the process that goes to no other one; give None when it has ended."""
        descriptor = None
        try:
            if self.alive:
                try:
                    descriptor = os.pidfd_open(self.pid)
                except ProcessLookupError:
                    descriptor = None
            yield descriptor if self.alive else None  # the id may have gone to another process before it was opened
        finally:
            if descriptor is not None:
                os.close(descriptor)


def read_stat(pid: int) -> Stat | None:
    """Return what the kernel says of a process; None when there is none of this id."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    head, _, rest = text.rpartition(")")
    fields = rest.split()
    return Stat(head.partition("(")[2], fields[0], int(fields[1]), fields[19])


def start_time(pid: int) -> str:
    """Return when a process started, as :attr:`Stat.started` has it; an empty string when there is none, or it is a zombie."""
    stat = read_stat(pid)
    return "" if stat is None or stat.state in _ENDED else stat.started


def find_daemon(program: str, word: str, *, pid_file: Path | None = None) -> Process | None:
    """Return a daemon that runs, whoever started it; None when it does not run.

    Processes of other PID namespaces are left alone: a container may run the same program with the same files of its own.

    :param program: the name of its program.
    :param word: an argument, or a ``NAME=VALUE`` of its environment, that only this daemon of the program has.
    :param pid_file: the file with its id, which saves looking at every process; it may be missing, stale or wrong.
    """
    return next(find_daemons(program, word, pid_file=pid_file), None)


def find_daemons(program: str, word: str, *, pid_file: Path | None = None) -> Iterator[Process]:
    """Yield every process that :func:`find_daemon` means, should there be several; the one of the ``pid_file`` comes first."""
    reap()
    noted = _noted(pid_file) if pid_file is not None else None
    first = _if_daemon(noted, program, word) if noted is not None else None
    if first is not None:
        yield first
    for entry in os.listdir("/proc"):  # noqa: PTH208  # twice as fast, and there may be thousands
        if entry.isdigit() and int(entry) != noted:
            found = _if_daemon(int(entry), program, word)
            if found is not None:
                yield found


def _noted(pid_file: Path) -> int | None:
    try:
        return int(pid_file.read_text(errors="replace"))
    except (OSError, ValueError):
        return None


def _if_daemon(pid: int, program: str, word: str) -> Process | None:
    place = Path(f"/proc/{pid}")
    try:
        if (place / "comm").read_text(errors="replace").rstrip("\n") != program[:_NAME_LENGTH]:
            return None
        started = start_time(pid)
        if (place / "ns/pid").readlink() != Path("/proc/self/ns/pid").readlink():
            return None
        words = b"\0".join((place / name).read_bytes() for name in ("cmdline", "environ")).split(b"\0")
    except OSError:  # it has ended meanwhile, or is somebody else's
        return None
    return Process(pid, started) if started and os.fsencode(word) in words else None
