"""Watching a system that was started as a container, until it is up or will not be."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from attrs import frozen

from terra_core.errors import CommandError
from terra_core.hookspecs import Trial
from terra_core.system.process import Completed
from terra_core.system.progress import Event, Report
from terra_core.system.reading import lines_of
from terra_core.system.waiting import WaitedInVain, wait_until

_LINES = 40
_NOT_RUN = (125, 126, 127)
_ENDED = ("running", "degraded", "maintenance", "stopping")


class System(Protocol):
    """A container whose init was started."""

    def alive(self) -> bool:
        """Return whether its init still runs."""

    def ask(self, *words: str) -> str:
        """Return what a program in the container prints; nothing when it can't be run."""

    def log(self) -> str:
        """Return the end of what its init printed."""


@frozen
class Container:
    """A container of a program with the command line of Docker's, such as podman.

    :param run: runs a command of the program, and accepts whatever it ends with.
    :param name: the container's name.
    """

    run: Callable[..., Completed]
    name: str

    def alive(self) -> bool:
        """Return whether its init still runs."""
        return self.run("container", "inspect", "--format={{.State.Running}}", self.name).text.strip() == "true"

    def ask(self, *words: str) -> str:
        """Return what a program in the container prints; nothing when it can't be run."""
        with suppress(CommandError):
            asked = self.run("exec", self.name, *words)
            return "" if asked.code in _NOT_RUN else asked.text
        return ""

    def log(self) -> str:
        """Return the end of what its init printed."""
        asked = self.run("logs", f"--tail={_LINES}", self.name)
        return (asked.text + asked.stderr.decode(errors="replace")).strip()


def watched(system: System, seconds: float, report: Report) -> Trial:
    """Wait until a system says that it is up, or has failed, and return how it did.

    :param seconds: how long it may take.
    """
    seen = ""

    def state() -> str:
        nonlocal seen
        if not system.alive():
            return "ended"
        found = system.ask("systemctl", "is-system-running").strip()
        if found != seen:
            seen = found
            report(Event("test", f"the system is {found or 'not up yet'}"))
        return found if found in _ENDED else ""

    try:
        found = wait_until(state, seconds=seconds, what="the system to come up", interval=1)
    except WaitedInVain:
        jobs = system.ask("systemctl", "list-jobs", "--no-legend", "--no-pager")
        return Trial(state="", errors=f"it waits for:\n{jobs}" if jobs.strip() else system.log())
    if found == "ended":
        return Trial(state="", errors=system.log())
    if found == "running":
        return Trial(state=found)
    failed = system.ask("systemctl", "list-units", "--failed", "--plain", "--no-legend", "--no-pager")
    errors = system.ask("journalctl", "--boot", "--priority", "err", "--quiet", "--no-pager", "--output", "short")
    return Trial(state=found, failed=tuple(line.strip() for line in lines_of(failed) if line.strip()), errors=errors.strip())
