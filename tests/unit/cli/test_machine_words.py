"""What ``terra status`` and ``terra logs`` print of a machine."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from attrs import evolve

from terra_core.cli import connection, run, terra
from terra_core.client.answers import ClientShown, HappeningShown, StatusShown
from terra_core.errors import NotFoundError, TerraError
from terra_core.service.answers import OperationShown


def happening(number: int, text: str = "is sent vmlinuz", generation: int = 1) -> HappeningShown:
    time = f"2026-11-26T07:26:{number:02}.000Z"
    return HappeningShown(number=number, generation=generation, time=time, kind="file", text=text, data={"file": "vmlinuz"})


STATUS = StatusShown(
    hostname="cm-01",
    mac="02:00:00:00:00:01",
    image="a/b:1",
    initiator_iqn="",
    disk_groups=(),
    state="booted",
    problem="",
    since="2026-11-26T07:26:09.000Z",
    digest="sha256:ab",
    addresses=("10.0.10.50", "fd00::5"),
    report={"kernel": "6.12.57", "state": "degraded", "failed": ["ssh.service", "x\x1b[2J.service"]},
    connected=(ClientShown(name="iqn.x", address="10.0.10.50"),),
    trouble="",
    operation=OperationShown(id="1", kind="provision", subject="cm-01", state="done"),
    happenings=(happening(1), happening(2, "has booted\x1b[2J")),
)


class Answering:
    """A controller that tells of one machine, and at last nothing more."""

    def __init__(self, status: StatusShown, told: Sequence[Sequence[HappeningShown] | TerraError] = ()) -> None:
        self._status, self._told = status, list(told)
        self.after: list[tuple[int, int]] = []

    def status(self, hostname: str) -> StatusShown:
        return self._status

    def happenings(self, hostname: str, *, after: int = 0, wait: int = 0) -> Sequence[HappeningShown]:
        self.after.append((after, wait))
        if not self._told:
            raise NotFoundError("the end of this test")
        answer = self._told.pop(0)
        if isinstance(answer, TerraError):
            raise answer
        return answer


def printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], client: Answering, *words: str, code: int = 0
) -> Any:
    monkeypatch.setattr(connection, "connect", lambda ctx: client)
    assert run(terra, [*words]) == code
    return capsys.readouterr()


def test_a_machine_that_has_its_disks_and_never_reported_is_told_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "an image without terra-report.service never reports"
    booting = evolve(STATUS, state="booting")
    assert said in printed(monkeypatch, capsys, Answering(booting), "status", "cm-01").out
    for other in (evolve(booting, connected=()), STATUS):
        assert said not in printed(monkeypatch, capsys, Answering(other), "status", "cm-01").out


def test_a_status_is_what_a_person_asks_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(monkeypatch, capsys, Answering(STATUS), "status", "cm-01").out == (
        "machine     cm-01\n"
        "state       booted since 2026-11-26T07:26:09.000Z\n"
        "image       a/b:1 sha256:ab\n"
        "mac         02:00:00:00:00:01\n"
        "addresses   10.0.10.50, fd00::5\n"
        "kernel      6.12.57\n"
        "system      degraded; failed: ssh.service, x\\x1b[2J.service\n"
        "connected   iqn.x from 10.0.10.50\n"
        "operation   provision: done\n"
        "\n"
        "What happened last:\n"
        "  2026-11-26T07:26:01.000Z  file       is sent vmlinuz\n"
        "  2026-11-26T07:26:02.000Z  file       has booted\\x1b[2J\n"
    )


def test_a_machine_that_never_came_says_why(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    failed = evolve(
        STATUS, state="failed", problem="its disk is gone", report={}, connected=(), operation=None, happenings=(), addresses=()
    )
    assert printed(monkeypatch, capsys, Answering(failed), "status", "cm-01").out == (
        "machine     cm-01\n"
        "state       failed since 2026-11-26T07:26:09.000Z\n"
        "reason      its disk is gone\n"
        "image       a/b:1 sha256:ab\n"
        "mac         02:00:00:00:00:01\n"
        "connected   nobody\n"
    )


def test_a_status_for_programs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    shown = json.loads(printed(monkeypatch, capsys, Answering(STATUS), "status", "cm-01", "-o", "json").out)
    assert (shown["state"], shown["report"]["kernel"], shown["happenings"][0]["number"]) == ("booted", "6.12.57", 1)


def test_logs_are_lines_and_the_last_ones_if_wanted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = [happening(at) for at in range(1, 6)]
    lines = printed(monkeypatch, capsys, Answering(STATUS, [told]), "logs", "cm-01").out.splitlines()
    assert lines[0] == "2026-11-26T07:26:01.000Z  file       is sent vmlinuz"
    assert len(lines) == 5
    assert printed(monkeypatch, capsys, Answering(STATUS, [told]), "logs", "cm-01", "-n", "1").out.splitlines() == lines[-1:]
    assert printed(monkeypatch, capsys, Answering(STATUS, [told]), "logs", "cm-01", "-n", "0").out == ""
    as_json = printed(monkeypatch, capsys, Answering(STATUS, [told]), "logs", "cm-01", "-o", "json").out.splitlines()
    assert [json.loads(line)["number"] for line in as_json] == [1, 2, 3, 4, 5]


def test_following_goes_on_from_the_last_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    client = Answering(STATUS, [[happening(1)], [], [happening(2), happening(3)], [happening(9, generation=2)]])
    found = printed(monkeypatch, capsys, client, "logs", "cm-01", "-f", code=1)
    assert len(found.out.splitlines()) == 4
    assert client.after == [(0, 0), (1, 10), (1, 10), (3, 10), (9, 10)]
    assert "cm-01 was deleted, and is another machine now" in found.err


def test_following_goes_on_when_the_controller_is_restarted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("terra_core.client.waiting._PAUSE_SECONDS", 0.01)
    gone = TerraError("no controller answers")
    client = Answering(STATUS, [[happening(1)], gone, gone, [happening(2)], gone, [happening(3)]])
    found = printed(monkeypatch, capsys, client, "logs", "cm-01", "-f", code=1)
    assert len(found.out.splitlines()) == 3, "each is shown once"
    assert found.err.count("Warning: no controller answers") == 2, "once for each time that it is away"


def test_following_goes_on_over_a_database_that_was_put_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    later = evolve(happening(5, "is booted"), number=3)
    client = Answering(STATUS, [[happening(1), happening(4)], [happening(1), happening(2), later], [], [happening(6)]])
    found = printed(monkeypatch, capsys, client, "logs", "cm-01", "-f", code=1)
    assert [line[:24] for line in found.out.splitlines()] == [f"2026-11-26T07:26:0{at}.000Z" for at in (1, 4, 5, 6)]
    assert found.err.count("was put back to an earlier state") == 1
    assert client.after == [(0, 0), (4, 10), (3, 10), (3, 10), (6, 10)]


def test_following_a_machine_of_which_nothing_was_seen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client = Answering(STATUS, [[], [], [happening(4)]])
    assert len(printed(monkeypatch, capsys, client, "logs", "cm-01", "-f", code=1).out.splitlines()) == 1
    assert client.after == [(0, 0), (0, 10), (0, 10), (4, 10)]


def test_an_error_and_its_hint_are_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    said = "the LUN file is missing\nbring it back\n\x1b[2J"
    status = evolve(STATUS, problem=said, happenings=(happening(1, f"change failed: {said}"),))
    shown = printed(monkeypatch, capsys, Answering(status), "status", "cm-01").out
    assert r"reason      the LUN file is missing; bring it back; \x1b[2J" in shown
    assert r"change failed: the LUN file is missing; bring it back; \x1b[2J" in shown
