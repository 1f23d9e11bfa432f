"""What a version on trial does with what it has found out, and how long it has run."""

from __future__ import annotations

import os
import time

import pytest
from attrs import define, field

from terra_core.errors import ConflictError, TerraError
from terra_core.system.processes import Stat
from terra_core.upgrade import decision
from terra_core.upgrade.trial import OverruledError, State


@define
class Trial:
    """A trial that comes to something.

    :param reason: why the version is not healthy; empty when it is.
    :param keeping: what stands against keeping it.
    :param giving_up: what stands against giving it up.
    """

    reason: str = ""
    keeping: TerraError | None = None
    giving_up: TerraError | None = None
    done: list[str] = field(factory=list)

    def keep(self, version: str) -> State:
        if self.keeping is not None:
            raise self.keeping
        self.done.append(f"kept {version}")
        return State(running=version)

    def give_up(self, version: str, reason: str) -> State:
        if self.giving_up is not None:
            raise self.giving_up
        self.done.append(f"given up {version}: {reason}")
        return State(running=version)


OTHER = OverruledError("somebody has chosen os meanwhile", by_person=True)
STALE = OverruledError("it was started by a disk that had been away", by_person=False)
FREE = "watchdog"


@pytest.mark.parametrize(
    ("trial", "goes_on", "done"),
    [
        (Trial(), True, ["kept os.1", FREE]),
        (Trial(reason="no route"), False, ["given up os.1: no route"]),
        (Trial(keeping=OTHER), True, [FREE]),
        (Trial(keeping=STALE), False, []),
        (Trial(keeping=TerraError("the disk is broken")), False,
         ["given up os.1: it is healthy, and could not be kept: the disk is broken"]),
        (Trial(reason="no route", giving_up=ConflictError("os.1: is the version that is kept")), True, [FREE]),
        (Trial(reason="no route", giving_up=TerraError("the disk is full")), False, []),
    ],
)  # fmt: skip
def test_what_becomes_of_a_trial(trial: Trial, goes_on: bool, done: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decision, "started_with", lambda: "quiet terra.try=os.1")
    monkeypatch.setattr(decision, "_reason", lambda limit: trial.reason)
    monkeypatch.setattr(decision, "keep_tried", trial.keep)
    monkeypatch.setattr(decision, "give_up", trial.give_up)
    monkeypatch.setattr(decision, "_let_watchdog_go", lambda: trial.done.append(FREE))
    said: list[str] = []
    assert decision.decide(said.append, lambda seconds: None) is goes_on
    assert trial.done == done
    assert said


def test_the_time_counts_from_the_start_of_init(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container runs on a machine that may have been up for weeks."""
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    began = str(int((now - 30) * os.sysconf("SC_CLK_TCK")))
    monkeypatch.setattr(decision, "read_stat", lambda pid: Stat("systemd", "S", 0, began) if pid == 1 else None)
    assert 30 <= decision._uptime() < 40
    monkeypatch.setattr(decision, "read_stat", lambda pid: None)
    assert decision._uptime() >= now
