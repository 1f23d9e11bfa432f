"""Deciding whether the version that runs on trial is kept; see docs/decisions/0091."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from terra_core.config.node import Upgrades
from terra_core.config.structure import StructureError, structure
from terra_core.errors import ConflictError, TerraError, words_of
from terra_core.image.contained import ContainedRoot
from terra_core.system.process import run
from terra_core.system.processes import read_stat
from terra_core.upgrade.health import EXPECTED, Network, expected
from terra_core.upgrade.judge import Questions, judge
from terra_core.upgrade.observe import check_problem, look, room_problem
from terra_core.upgrade.trial import OverruledError, give_up, keep_tried, started_with, tried_by
from terra_core.versions.look import read_known
from terra_core.versions.record import PLACE

WATCHDOG = Path("/run/systemd/system.conf.d/50-terra-trial.conf")
"""The settings by which systemd has the watchdog on a trial; written in the RAM disk."""
_ROOT = Path("/")
_SLACK_SECONDS = 900
_EXPECTED_LIMIT = 4096

Say = Callable[[str], object]


def decide(say: Say, limit: Callable[[int], object]) -> bool:
    """Wait until the version that runs is healthy or cannot be; keep it, or write down why it is given up.

    What a person has chosen meanwhile counts for more than this.

    :param say: takes what is to be said.
    :param limit: called with the seconds within which all this has to have ended.
    :returns: whether the machine may go on with it; it has to be restarted otherwise.
    """
    version = tried_by(started_with())
    if not version:
        say("no version is on trial")
        return True
    reason = _reason(limit)
    if not reason:
        try:
            reason = _keep(version, say)
        except OverruledError as error:
            say(f"{version} is healthy, and is not kept: {error.message}")
            if error.by_person:
                _let_watchdog_go()
            return error.by_person
    if not reason:
        say(f"{version} is healthy, and is started from now on")
        _let_watchdog_go()
        return True
    say(f"{version} is given up: {reason}")
    try:
        give_up(version, reason)
    except ConflictError as error:  # somebody has kept it by hand
        say(f"it goes on all the same: {error.message}")
        _let_watchdog_go()
        return True
    except (TerraError, OSError) as error:
        say(f"that could not be written down: {words_of(error)}")
    return False


def _keep(version: str, say: Say) -> str:
    """Keep a version; return why it cannot be kept, or nothing.

    :raises OverruledError: when it is not the one that the machine was told to try.
    """
    try:
        for problem in keep_tried(version).problems:
            say(problem)
    except OverruledError:
        raise
    except (TerraError, OSError) as error:
        return f"it is healthy, and could not be kept: {words_of(error)}"
    return ""


def _reason(limit: Callable[[int], object]) -> str:
    """Return why the version that runs is not healthy, or nothing."""
    try:
        upgrades, wanted = _asked()
        limit(max(int(upgrades.timeout - _uptime()), 0) + _SLACK_SECONDS)
        questions = Questions(
            look=look, check=check_problem, room=lambda: room_problem(_ROOT / PLACE), uptime=_uptime, pause=time.sleep
        )
        return judge(upgrades, wanted, questions)
    except (TerraError, OSError) as error:
        return f"whether it is healthy could not be found out: {words_of(error)}"


def _asked() -> tuple[Upgrades, Network]:
    """Return what is asked of the version that runs."""
    with ContainedRoot(_ROOT) as inside:
        table = read_known(inside, _ROOT).node.get("upgrade", {})
        wanted = expected(inside.read(EXPECTED, limit=_EXPECTED_LIMIT))
    try:
        return structure(table, Upgrades), wanted
    except StructureError as error:
        raise TerraError(f"[upgrade] of its node.toml cannot be read: {error}") from error


def _let_watchdog_go() -> None:
    """Let systemd take its own settings again: a version that is kept has the watchdog that its owner wants, if any."""
    with suppress(OSError, TerraError):
        WATCHDOG.unlink()
        run(["systemctl", "daemon-reload"])


def _uptime() -> float:
    """Return the seconds since init started: with the kernel, or with the container that this is."""
    init = read_stat(1)
    ticks = int(init.started) if init is not None else 0
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
