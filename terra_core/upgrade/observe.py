"""Asking a running system how it does: its system manager, its network, its disk, and the program of its owner."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from terra_core.errors import CommandError
from terra_core.system.process import converse, run
from terra_core.system.reading import lines_of
from terra_core.system.unit_names import is_of_users_alone
from terra_core.upgrade.health import UP, Network, Seen, first_words, network_of, read_json_list

_ANSWER_SECONDS = 20
_ROOM = 16 << 20
_MOST_LINES, _MOST_TEXT = 20, 2000
_UNITS = ("--plain", "--no-legend", "--no-pager", "--full")


def network() -> Network:
    """Return how far this machine reaches now."""
    shown = (_said("ip", family, "-json", "route", "show", "default") for family in ("-4", "-6"))
    routes = [route for text in shown for route in read_json_list(text)]
    return network_of(routes, read_json_list(_said("ip", "-json", "address", "show", "scope", "global")))


def look() -> Seen:
    """Return what is seen of the system that runs; of one that does not run yet, only what its start waits for."""
    state = _said("systemctl", "is-system-running").strip()
    if state == UP:
        return Seen(state=state, network=network())
    if state == "starting":
        return Seen(state=state, jobs=_running_jobs())
    failed = first_words(lines_of(_said("systemctl", "list-units", "--state=failed", *_UNITS)))
    if state == "degraded" and is_of_users_alone(failed):
        return Seen(state=UP, network=network())
    return Seen(state=state, failed=failed)


def room_problem(directory: Path) -> str:
    """Return why a disk takes nothing more; empty when it does.

    :param directory: a directory on it.
    """
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(os.urandom(_ROOM))  # what could be compressed would fit into a full one
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return f"its disk takes no {_ROOM >> 20} MB more: {error.strerror}"
    return ""


def check_problem(words: Sequence[str], seconds: float) -> str:
    """Run the program of the machine's owner; return why it says no, with the end of its output, and nothing when it says yes.

    :param words: the program and its arguments.
    :param seconds: how long it may take.
    """
    last: list[str] = []
    try:
        with closing(converse(words, timeout=seconds)) as lines:
            for line in lines:
                last = [*last[1 - _MOST_LINES :], line[-_MOST_TEXT:]]
    except CommandError as error:
        how = error.message.partition("\n")[0].partition(f": {' '.join(words)}")[0]
        return "\n".join([how, *last])[-_MOST_TEXT:] if last else how
    return ""


def _running_jobs() -> tuple[str, ...]:
    """Return the units of the jobs that run; those that wait, wait for one of them."""
    lines = lines_of(_said("systemctl", "list-jobs", *_UNITS))
    running = [line for line in lines if line.split()[-1:] == ["running"]]
    return first_words(running, 1)


def _said(*words: str) -> str:
    """Return what a program prints, whatever its exit code; nothing when it cannot be run or does not answer."""
    try:
        return run(words, timeout=_ANSWER_SECONDS, accept=range(256)).text
    except CommandError:
        return ""
