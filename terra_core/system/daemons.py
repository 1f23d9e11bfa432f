"""Starting daemons that outlive this process; :mod:`terra_core.system.processes` finds them again and ends them."""

from __future__ import annotations

import resource
from collections.abc import Callable, Sequence
from pathlib import Path

from terra_core.system.process import Argument, Daemon
from terra_core.system.undo import undoing


def open_files(most: int) -> list[str]:
    """Return the words in front of a command line that let the program open that many files, as far as this process may."""
    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    return ["prlimit", f"--nofile={most if allowed == resource.RLIM_INFINITY else min(most, allowed)}:"]


def start_daemon(args: Sequence[Argument], *, log: Path, wait: Callable[[Daemon], None], name: str = "") -> None:
    """Start a daemon that outlives this process; when waiting for it fails, it is ended.

    :param args: the program and its arguments; it has to stay in the foreground.
    :param log: the file that its output is appended to.
    :param name: the name of the program, where ``args`` begin with what starts it.
    :param wait: waits until it serves, and raises when it does not.
    :raises CommandError: when the program is not installed.
    """
    daemon = Daemon(args, log=log, outlives=True, name=name)
    try:
        wait(daemon)
    except BaseException as error:
        with undoing(error):
            daemon.stop()
        raise
