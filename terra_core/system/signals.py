"""Signals as exceptions, so that what was begun is undone on the way out."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from terra_core.errors import InterruptedWork


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
