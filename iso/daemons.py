"""Daemons that end with this process, however that ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from terra_core.errors import TerraError
from terra_core.system.process import Argument, Daemon
from terra_core.system.waiting import wait_until


def start(args: Sequence[Argument], *, log: Path, env: Mapping[str, str] | None = None) -> Daemon:
    """Start a program in the foreground of a session of its own, so that Ctrl-C leaves its end to its owner.

    It gets SIGTERM when the thread that called this ends, even by kill -9.

    :param args: the program and its arguments.
    :param log: the file that its output goes to; what an earlier run left in it is lost.
    :param env: environment variables on top of the clean ones.
    :raises CommandError: when the program is not installed.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    log.unlink(missing_ok=True)
    return Daemon(args, log=log, env=env, outlives=True, owned=True)


def wait_ready(daemon: Daemon, probe: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Wait until ``probe`` says yes.

    :param daemon: the daemon that has to stay alive meanwhile.
    :param probe: says whether it is ready; an OSError or TerraError counts as no.
    :param seconds: how long to wait, in seconds.
    :param what: what is waited for, in words.
    :raises TerraError: when the time runs out or the daemon ends; with the end of its log.
    """

    def ready_or_dead() -> bool:
        try:
            return not daemon.alive or probe()
        except (OSError, TerraError):
            return False

    try:
        wait_until(ready_or_dead, seconds=seconds, what=what)
    except TerraError as error:
        raise TerraError(f"{error.message}; its log ends with:\n{daemon.tail()}") from error
    if not daemon.alive:
        raise TerraError(f"the program ended while waiting for {what}; its log ends with:\n{daemon.tail()}")
