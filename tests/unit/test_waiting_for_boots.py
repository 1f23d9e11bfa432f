"""Waiting for a machine's own report: what ends it, and what is said of a machine that does not come."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
from attrs import Factory, define

from terra_core.cli.waiting import wait_for_boots
from terra_core.client.answers import HappeningShown, NodeShown
from terra_core.client.connection import NobodyAnswersError
from terra_core.client.waiting import DegradedError, Past, last_happening, past_of, wait_until_booted, wait_until_current
from terra_core.errors import InterruptedWork, NotFoundError, TerraError, UnavailableError
from terra_core.system.process import interruption
from terra_core.system.waiting import WaitedInVain


def happening(number: int, kind: str, **data: object) -> HappeningShown:
    time = f"2026-11-26T10:{number:02}:00.000Z"
    return HappeningShown(number=number, generation=1, time=time, kind=kind, text=f"does {kind}", data=data)


def change(number: int, step: str = "done", *, next_boot: bool = True) -> HappeningShown:
    return happening(number, "operation", step=step, next_boot=next_boot)


def booted(number: int, uptime: float = 20, state: str = "running") -> HappeningShown:
    """Return what a machine says in minute ``number``, after so many seconds of its own."""
    return happening(number, "report", state=state, uptime=uptime, failed=["a.service"] if state == "degraded" else [])


@define
class Told:
    """A controller that tells of a machine, an answer after the other; after the last one it has nothing new."""

    answers: list[Sequence[HappeningShown] | TerraError]
    state: str = "ready"
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

    def node(self, hostname: str) -> NodeShown:
        return NodeShown(
            hostname=hostname, mac="", image="", disk_groups=(), initiator_iqn="", state=self.state, problem="", since="",
            digest="", addresses=(),
        )  # fmt: skip


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


@pytest.mark.parametrize("kind", [TerraError, NobodyAnswersError, UnavailableError])
def test_a_controller_that_is_restarted_meanwhile_is_asked_again(
    monkeypatch: pytest.MonkeyPatch, kind: type[TerraError]
) -> None:
    """Nobody listens while it starts, and one without its database says so."""
    monkeypatch.setattr("terra_core.client.waiting._PAUSE_SECONDS", 0.01)
    gone, events = kind("the controller cannot be reached"), list[str]()
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


@pytest.mark.parametrize(
    ("happened", "counts"),
    [
        ([booted(1)], 1),
        ([booted(1), booted(2)], 2),
        ([booted(1), happening(2, "report", state="starting", uptime=20)], 1),
        ([booted(1), change(2)], None),
        ([booted(1), change(2, "begun")], None),
        ([booted(1), change(2, "begun"), change(3, "failed")], 1),
        ([booted(1), change(2, "begun"), change(3, "done")], None),
        ([booted(1), change(2, next_boot=False)], 1),
        ([change(1), booted(3)], 3),
        ([change(1), booted(3, uptime=121)], None),
        ([booted(1), change(2, "begun"), change(3, "done"), booted(5), booted(6, uptime=7200)], 5),
        ([happening(1, "operation"), happening(2, "dhcp")], None),
    ],
)
def test_a_boot_counts_that_began_after_the_last_change_for_the_next_boot(
    happened: list[HappeningShown], counts: int | None
) -> None:
    past = past_of(Told([happened]), "cm-01")
    assert past.last == happened[-1].number
    assert (past.report and past.report.number) == counts


def test_the_past_of_a_machine_of_which_nothing_is_known() -> None:
    assert past_of(Told([]), "cm-01") == Past()


def test_a_machine_that_is_booted_and_unchanged_counts_at_once() -> None:
    told = Told([[booted(1)]], state="booted")
    assert wait_until_current(told, "cm-01", seconds=30).number == 1
    with pytest.raises(DegradedError, match=r"a\.service failed"):
        wait_until_current(Told([[booted(1, state="degraded")]], state="booted"), "cm-01", seconds=30)


def test_a_machine_that_is_off_has_to_boot() -> None:
    told = Told([[booted(1)], [], [happening(2, "dhcp")], [booted(3)]])
    events: list[str] = []
    assert wait_until_current(told, "cm-01", seconds=30, report=lambda event: events.append(event.text)).number == 3
    assert events == ["cm-01 has to boot", "cm-01 does dhcp", "cm-01 does report"]
    with pytest.raises(WaitedInVain, match="was not seen"):
        wait_until_current(Told([[booted(1)]]), "cm-01", seconds=0.05)


def test_of_a_machine_that_boots_just_now_is_known_how_far_it_is() -> None:
    before = [booted(1), happening(2, "dhcp"), happening(3, "file")]
    told = Told([before, [], before[1:]], state="booting")
    with pytest.raises(WaitedInVain, match="got its boot files"):
        wait_until_current(told, "cm-01", seconds=0.05)
    assert told.asked[2] == 1


@pytest.mark.parametrize("state", ["booted", "booting"])
def test_the_boot_that_was_under_way_when_it_was_changed_does_not_count(state: str) -> None:
    past, former = [booted(1), change(3)], [happening(4, "login"), booted(5, uptime=300), happening(6, "dhcp")]
    with pytest.raises(WaitedInVain, match=r"was changed at 2026-11-26T10:03:00\.000Z, and has not been started again"):
        wait_until_current(Told([past, [], former], state=state), "cm-01", seconds=0.05)
    told = Told([past, [], former, [happening(7, "file"), booted(8)]], state=state)
    assert wait_until_current(told, "cm-01", seconds=30).number == 8


def test_several_machines_are_waited_for_each_on_its_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("terra_core.client.waiting._PAUSE_SECONDS", 0.01)
    machines = {
        "cm-01": Told([[booted(1)]], state="booted"),
        "cm-02": Told([[happening(1, "dhcp")], [], [booted(2)]]),
        "cm-03": Told([[booted(1, state="degraded")]], state="booted"),
        "cm-04": Told([]),
    }

    class Client:
        def happenings(self, hostname: str, *, after: int = 0, wait: int = 0) -> Sequence[HappeningShown]:
            return machines[hostname].happenings(hostname, after=after, wait=wait)

        def node(self, hostname: str) -> NodeShown:
            return machines[hostname].node(hostname)

    with pytest.raises(TerraError) as caught:
        wait_for_boots(Client(), list(machines), 1)  # type: ignore[arg-type]  # the part of a client that it uses
    assert caught.value.exit_code == 1
    assert [line.partition(" ")[0] for line in caught.value.message.split("\n")] == ["cm-03", "cm-04"]
    said = capsys.readouterr().err
    for line in ("cm-01: boot: it has booted", "cm-02: boot: has to boot", "cm-02: boot: does report", "cm-02 has booted: it"):
        assert line in said
    del machines["cm-04"], machines["cm-02"]
    machines["cm-01"].answers, machines["cm-03"].answers = [[booted(1)]], [[booted(1, state="degraded")]]
    with pytest.raises(DegradedError):
        wait_for_boots(Client(), list(machines), 1)  # type: ignore[arg-type]  # as above


def test_waiting_ends_when_it_is_interrupted() -> None:
    token = interruption.set(lambda: True)
    try:
        with pytest.raises(InterruptedWork):
            wait_until_booted(Told([]), "cm-01", seconds=30)
    finally:
        interruption.reset(token)


def test_an_earlier_boot_does_not_count_when_the_database_is_put_back_meanwhile() -> None:
    events: list[str] = []
    told = Told([[happening(1, "report", state="running")], [happening(2, "report", state="running")]])
    found = wait_until_booted(told, "cm-01", seconds=30, after=9, report=lambda event: events.append(event.text))
    assert (found.number, told.asked) == (2, [9, 1])
    assert "was put back to an earlier state" in events[0]
