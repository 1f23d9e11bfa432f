"""Signals as exceptions, so that whatever was put up is taken down."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from terra_core.errors import InterruptedWork

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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
