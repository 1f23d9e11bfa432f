"""Signals as exceptions, now or a little later."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from terra_core.errors import InterruptedWork
from terra_core.system import signals
from terra_core.system.signals import deferred, held, interruptible, terminating


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


def test_one_signal_is_let_through_and_those_that_come_with_it_wait() -> None:
    steps: list[str] = []
    with terminating(), held() as ours:
        signal.raise_signal(signal.SIGTERM)
        steps.append("held")
        with pytest.raises(InterruptedWork), ours.let_through():
            steps.append("never")
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        steps.append("held again")
        with pytest.raises(KeyboardInterrupt), ours.let_through():
            steps.append("never")
        with ours.let_through():
            steps.append("nothing waits")
    assert steps == ["held", "held again", "nothing waits"]


def test_who_asks_again_later_is_not_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    def impatient() -> None:
        with held():
            signal.raise_signal(signal.SIGINT)
            monkeypatch.setattr(signals, "_IMPATIENT_SECONDS", 0.0)
            signal.raise_signal(signal.SIGINT)
            raise AssertionError

    with pytest.raises(KeyboardInterrupt):
        impatient()


def test_what_waits_at_the_end_comes_then() -> None:
    steps: list[str] = []

    def step() -> None:
        with held():
            signal.raise_signal(signal.SIGINT)
            steps.append("done")

    with pytest.raises(KeyboardInterrupt):
        step()
    assert steps == ["done"]


def test_a_signal_that_is_ignored_stays_so() -> None:
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with held() as ours, ours.let_through():
            signal.raise_signal(signal.SIGHUP)
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, former)


def test_another_thread_has_no_signals_to_hold() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[object] = []

    def work() -> None:
        with held() as ours, ours.let_through():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
