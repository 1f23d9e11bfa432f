"""Time limits for blocks of code that wait in a library: one thread watches every deadline of the process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self


class Deadline:
    """A time limit for a block: a context manager, which may be entered again after it was left.

    Limits of single reads do not bound their sum: a peer that sends a byte now and then never exceeds one of them.

    :param seconds: how long the block may last.
    :param interrupt: ends what the block waits in, by shutting a connection down for instance; called in another thread, once,
        and not after the block was left. Must be quick; an error of it is passed over.
    """

    def __init__(self, seconds: float, interrupt: Callable[[], object]) -> None:
        self.seconds = seconds
        self.passed = False
        """Whether the time ran out."""
        self.interrupt = interrupt
        self.at = 0.0

    def __enter__(self) -> Self:
        self.at = time.monotonic() + self.seconds
        _watch.add(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _watch.discard(self)


class _Watch:
    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._deadlines: set[Deadline] = set()
        self._thread: threading.Thread | None = None
        self._next = 0.0

    def begin(self) -> None:
        with self._changed:
            self._require_thread()

    def add(self, deadline: Deadline) -> None:
        with self._changed:
            self._deadlines.add(deadline)
            if not self._require_thread() and deadline.at < self._next:
                self._changed.notify()

    def _require_thread(self) -> bool:
        """Start the thread if there is none; return whether it was started."""
        if self._thread is not None and self._thread.is_alive():  # in a process that was forked, it is not
            return False
        self._thread = threading.Thread(target=self._work, daemon=True, name="deadlines")
        self._next = 0.0
        self._thread.start()
        return True

    def discard(self, deadline: Deadline) -> None:
        with self._changed:
            self._deadlines.discard(deadline)

    def _work(self) -> None:
        with self._changed:
            while True:
                now = time.monotonic()
                for deadline in [one for one in self._deadlines if one.at <= now]:
                    self._deadlines.discard(deadline)
                    deadline.passed = True
                    with suppress(Exception):
                        deadline.interrupt()
                # Most deadlines are left long before they pass: to check them late costs less than to track each.
                self._next = min((one.at for one in self._deadlines), default=now + 3600.0)
                self._changed.wait(self._next - now)


_watch = _Watch()


def watch_deadlines() -> None:
    """Start the thread that watches deadlines, unless it runs.

    It lasts as long as the process, in the namespaces of the thread that starts it, whose mounts it would hold for ever: to be
    called before a namespace is made for a while.
    """
    _watch.begin()
