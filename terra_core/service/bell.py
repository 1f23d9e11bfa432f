"""A bell that any thread rings and coroutines wait for: waiting costs no thread, however many wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Bell:
    """Wakes the coroutines that listen, each on its own event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[asyncio.AbstractEventLoop, set[asyncio.Event]] = {}
        self._rung: set[asyncio.AbstractEventLoop] = set()

    @contextmanager
    def listening(self) -> Iterator[asyncio.Event]:
        """Yield an event of the running loop that is set whenever the bell rings, until the block ends."""
        loop, heard = asyncio.get_running_loop(), asyncio.Event()
        with self._lock:
            self._listeners.setdefault(loop, set()).add(heard)
        try:
            yield heard
        finally:
            with self._lock:
                self._listeners[loop].discard(heard)
                if not self._listeners[loop]:
                    del self._listeners[loop]

    def ring(self) -> None:
        """Wake every listener; a loop that has not woken yet is not woken twice."""
        with self._lock:
            for loop in self._listeners.keys() - self._rung:
                with suppress(RuntimeError):  # the loop was closed, and its listeners with it
                    loop.call_soon_threadsafe(self._wake, loop)
                    self._rung.add(loop)

    def _wake(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            self._rung.discard(loop)
            listeners = tuple(self._listeners.get(loop, ()))
        for heard in listeners:
            heard.set()
