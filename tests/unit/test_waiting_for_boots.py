"""Waiting for a machine's own report: what ends it, and what is said of a machine that does not come."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from attrs import Factory, define

from terra_core.client.answers import HappeningShown
from terra_core.client.waiting import DegradedError, last_happening, wait_until_booted
from terra_core.errors import NotFoundError, TerraError
from terra_core.system.waiting import WaitedInVain


def happening(number: int, kind: str, **data: object) -> HappeningShown:
    return HappeningShown(number=number, generation=1, time="", kind=kind, text=f"does {kind}", data=data)


@define
class Told:
    """A controller that tells of a machine, an answer after the other; after the last one it has nothing new."""

    answers: list[Sequence[HappeningShown] | TerraError]
    asked: list[int] = Factory(list)

    def happenings(self, hostname: str, *, after: int = 0, wait: int = 0) -> Sequence[HappeningShown]:
        self.asked.append(after)
        if not self.answers:
            time.sleep(0.01)
            return ()
        answer = self.answers.pop(0)
        if isinstance(answer, TerraError):
            raise answer
        return answer


def test_its_own_report_ends_it() -> None:
    events: list[str] = []
    seen = [happening(1, "operation"), happening(2, "dhcp"), happening(3, "file")]
    told = Told([seen, [happening(4, "login")], [happening(5, "report", state="running")], [happening(6, "dhcp")]])
    found = wait_until_booted(told, "cm-01", seconds=30, report=lambda event: events.append(event.text))
    assert found.number == 5
    assert told.asked == [0, 3, 4]
    assert events == ["cm-01 does operation", "cm-01 does dhcp", "cm-01 does file", "cm-01 does login", "cm-01 does report"]


def test_what_failed_in_it_is_named() -> None:
    told = Told([[happening(1, "report", state="degraded", failed=["a.service", "b.mount"])]])
    with pytest.raises(DegradedError, match=r"degraded: a\.service, b\.mount failed"):
        wait_until_booted(told, "cm-01", seconds=30)


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        ([], "was not seen"),
        (["operation", "problem"], "was not seen"),
        (["dhcp"], "has asked for an address, and not for its boot files"),
        (["dhcp", "file", "dhcp"], "got its boot files, and was not connected to its disks"),
        (["file", "login", "dhcp"], "was connected to its disks, and has not reported"),
        (["file", "login", "report"], "its boot has not come to its end"),
    ],
)
def test_of_a_machine_that_does_not_come_is_said_how_far_it_came(kinds: list[str], said: str) -> None:
    told = Told([[happening(at, kind, state="starting") for at, kind in enumerate(kinds, 1)]])
    with pytest.raises(WaitedInVain, match=f"cm-01 .*{said}.*, in 0 seconds") as caught:
        wait_until_booted(told, "cm-01", seconds=0.2)
    assert caught.value.hint


def test_a_controller_that_is_restarted_meanwhile_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("terra_core.client.waiting._PAUSE_SECONDS", 0.01)
    gone, events = TerraError("the controller cannot be reached"), list[str]()
    told = Told([gone, gone, [happening(1, "report", state="running")]])
    assert wait_until_booted(told, "cm-01", seconds=30, report=lambda event: events.append(event.text)).number == 1
    assert events == ["warning: the controller cannot be reached", "cm-01 does report"]


def test_a_machine_that_is_deleted_meanwhile_is_not_waited_for() -> None:
    with pytest.raises(NotFoundError):
        wait_until_booted(Told([[], NotFoundError("no machine is named 'cm-01'")]), "cm-01", seconds=30)


def test_an_earlier_boot_does_not_count() -> None:
    told = Told([[happening(1, "login"), happening(2, "report", state="running")], []])
    after = last_happening(told, "cm-01")
    assert after == 2
    with pytest.raises(WaitedInVain):
        wait_until_booted(told, "cm-01", seconds=0.05, after=after)


def test_what_has_happened_already_is_looked_at_though_the_time_is_over() -> None:
    told = Told([[happening(1, "report", state="running")]])
    assert wait_until_booted(told, "cm-01", seconds=1, began=time.monotonic() - 60).number == 1
