"""Signals as exceptions, now or a little later."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from terra_core.errors import InterruptedWork
from terra_core.system.signals import deferred, terminating


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_a_program_interrupts_the_work(number: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(InterruptedWork, match="ended by SIG"), terminating():
        signal.raise_signal(number)
    assert signal.getsignal(number) == before


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
