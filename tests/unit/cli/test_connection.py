"""Following an operation from the command line: a signal cancels it, whenever it comes."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from terra_core.cli.connection import carry_out
from terra_core.client.connection import Client
from terra_core.errors import InterruptedWork
from terra_core.system.signals import terminating
from tests.unit.test_client import PROGRESS, Daemon, answers, client, daemon, event

__all__ = ["client", "daemon"]

UNDONE = event("problem", {"title": "InterruptedWork", "detail": "all of it has been undone"})


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, InterruptedWork)])
def test_a_signal_while_the_work_is_asked_for_cancels_it(
    client: Client,
    daemon: Daemon,
    number: int,
    kind: type[BaseException],
) -> None:
    answers(daemon, UNDONE)

    def begin() -> dict[str, Any]:
        signal.raise_signal(number)
        return {"operation": "x"}

    with pytest.raises(kind):
        carry_out(client, begin)
    assert ("DELETE", "/v1/operations/x") in [asked[:2] for asked in daemon.asked]


def test_signals_that_come_together_cancel_the_work(
    client: Client, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a host that is busy, where a program finds all of them when it has its turn."""
    answers(daemon, b"", UNDONE)
    delete = Client.delete

    def late(self: Client, path: str) -> object:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        return delete(self, path)

    monkeypatch.setattr(Client, "delete", late)
    with pytest.raises(KeyboardInterrupt), terminating():
        client.carry_out(lambda: {"operation": "x"}, lambda event: signal.raise_signal(signal.SIGINT))
    assert ("DELETE", "/v1/operations/x") in [asked[:2] for asked in daemon.asked]


def test_work_that_nobody_interrupts_gives_its_result(
    client: Client,
    daemon: Daemon,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answers(daemon, event("result", {"a": 1}))
    assert carry_out(client, lambda: {"operation": "x"}) == {"a": 1}
    shown = capsys.readouterr()
    assert shown.out == ""
    assert str(PROGRESS["text"]) in shown.err
