"""Signals as exceptions, so that what was begun is undone on the way out."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from terra_core.errors import InterruptedWork

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def terminating() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise InterruptedWork in the main thread, as SIGINT raises KeyboardInterrupt."""

    def leave(number: int, _: FrameType | None) -> None:
        raise InterruptedWork(f"ended by {signal.Signals(number).name}")

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP raise InterruptedWork in the main thread, once: later ones let the clean-up finish.

    :raises InterruptedWork: wherever the main thread is when the first signal comes.
    """
    interrupted = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            raise InterruptedWork(f"interrupted by {signal.Signals(number).name}")

    former = {number: signal.signal(number, interrupt) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@contextmanager
def deferred() -> Iterator[Callable[[], None]]:
    """Hold the first SIGINT, SIGTERM or SIGHUP back while a step lasts that must not end half-way; a second one comes through.

    :returns: raises what was held back, if anything was; to be called when the step's outcome is in safe hands.
    """
    held: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return

    def hold(number: int, frame: FrameType | None) -> None:
        restore()
        held.append(number)

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def deliver() -> None:
        while held:
            signal.raise_signal(held.pop())

    before = {number: signal.signal(number, hold) for number in _ENDING}
    try:
        yield deliver
    finally:
        restore()
