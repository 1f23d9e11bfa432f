"""Signals as exceptions, now or a little later."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from terra_core.errors import InterruptedWork
from terra_core.system.signals import deferred, interruptible, terminating


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_a_program_interrupts_the_work(number: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(InterruptedWork, match="ended by SIG"), terminating():
        signal.raise_signal(number)
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("context", [terminating, interruptible])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_comes_where_exceptions_are_ignored_interrupts_the_work_a_moment_later(
    context: Callable[[], AbstractContextManager[None]], number: int
) -> None:
    before = [sys.unraisablehook, signal.getsignal(signal.SIGALRM)]

    class Thing:
        def __del__(self) -> None:
            signal.raise_signal(number)

    steps: list[str] = []

    def work() -> None:
        thing = Thing()
        del thing
        steps.append("Python ignored it")
        threading.Event().wait(10)
        steps.append("never")

    with pytest.raises((InterruptedWork, KeyboardInterrupt)), context():
        work()
    assert steps == ["Python ignored it"]
    assert [sys.unraisablehook, signal.getsignal(signal.SIGALRM)] == before


def test_what_else_is_ignored_goes_to_who_looks_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[BaseException | None] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda what: seen.append(what.exc_value))
    fault = ValueError("a fault of a destructor")

    class Thing:
        def __del__(self) -> None:
            raise fault

    with terminating():
        thing = Thing()
        del thing
    assert seen == [fault]


@pytest.mark.parametrize(
    ("number", "kind"),
    [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, InterruptedWork), (signal.SIGHUP, InterruptedWork)],
)
def test_a_signal_is_held_back_until_the_step_is_done(number: int, kind: type[BaseException]) -> None:
    steps: list[str] = []

    def step() -> Callable[[], None]:
        with deferred() as interrupt:
            signal.raise_signal(number)
            steps.append("done")
        return interrupt

    with terminating():
        interrupt = step()
        with pytest.raises(kind):
            interrupt()
        interrupt()
    assert steps == ["done"]


def test_the_second_signal_comes_through() -> None:
    steps: list[str] = []

    def impatient() -> None:
        with deferred():
            signal.raise_signal(signal.SIGINT)
            steps.append("held")
            signal.raise_signal(signal.SIGINT)
            steps.append("never")

    with pytest.raises(KeyboardInterrupt):
        impatient()
    assert steps == ["held"]


def test_without_a_signal_nothing_happens() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with deferred() as interrupt:
        pass
    interrupt()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before
