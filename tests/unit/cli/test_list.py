"""What ``terra list`` says of machines beside its table."""

from __future__ import annotations

import pytest

from terra_core.cli import connection, run, terra
from terra_core.client.answers import NodeShown


def node(name: str, state: str = "ready", problem: str = "") -> NodeShown:
    return NodeShown(
        hostname=name,
        mac="02:00:00:00:00:01",
        image="a/b:1",
        initiator_iqn="",
        disk_groups=(),
        state=state,
        problem=problem,
        since="",
        digest="",
        addresses=(),
    )


class Answering:
    def __init__(self, nodes: tuple[NodeShown, ...]) -> None:
        self._nodes = nodes

    def nodes(self) -> tuple[NodeShown, ...]:
        return self._nodes


def said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *nodes: NodeShown) -> list[str]:
    monkeypatch.setattr(connection, "connect", lambda ctx: Answering(nodes))
    assert run(terra, ["list"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == len(nodes) + 1
    return err.splitlines()


def test_each_machine_with_a_problem_of_its_own(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    nodes = [
        node("a"),
        node("b", "failed", problem="the disk is missing"),
        node("c", "failed", "its record cannot be read: no JSON"),
        node("d", "failed", "cannot be taken away: busy"),
        node("e", "provisioning"),
    ]
    assert said(monkeypatch, capsys, *nodes) == [
        "b cannot boot: the disk is missing",
        "c is set aside: its record cannot be read: no JSON; terra delete takes it away",
        "d cannot be taken away: busy",
        "e is provisioning",
    ]


def test_what_keeps_all_machines_down_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = [node(f"node-{at}", problem="tgtd hangs") for at in range(100)]
    assert said(monkeypatch, capsys, *nodes) == ["node-0, node-1, node-2, node-3, node-4 and 95 more cannot boot: tgtd hangs"]
