"""How much of one kind is written of one machine, whatever it or a hostile neighbour does."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from attrs import define, evolve

from terra_core.controller.happening import Happening, Kind

_MOST_SOURCES = 100_000


@define
class _Source:
    """What one machine may still have written of one kind.

    :param room: how many happenings are taken at once now.
    :param at: when that was counted, in seconds of the monotonic clock.
    :param left_out: how many were left out since.
    :param last: the last of these.
    """

    room: float
    at: float
    left_out: int = 0
    last: Happening | None = None


class Rate:
    """Bounds what is written of one kind of one machine: so many at once, and one every few seconds after that.

    Of those that are beyond, the last one is written when there is room again, with the number of the others.

    :param burst: how many at once.
    :param seconds: how often one after that.
    """

    def __init__(self, burst: int, seconds: float) -> None:
        self._burst, self._seconds = burst, seconds
        self._sources: dict[tuple[str, int, Kind], _Source] = {}
        self._lock = threading.Lock()

    def take(self, happening: Happening) -> bool:
        """Return whether a happening is written now; otherwise it is counted, and :meth:`late` may return it."""
        key, now = (*happening.machine, happening.kind), time.monotonic()
        with self._lock:
            source = self._sources.get(key)
            if source is None:
                if len(self._sources) >= _MOST_SOURCES:
                    return False
                source = self._sources[key] = _Source(self._burst, now)
            self._refill(source, now)
            if source.room < 1 or source.last is not None:
                source.left_out, source.last = source.left_out + 1, happening
                return False
            source.room -= 1
        return True

    def late(self) -> Iterator[Happening]:
        """Yield what had been left out and has room by now, and forget the sources that are at rest."""
        now = time.monotonic()
        with self._lock:
            for key, source in list(self._sources.items()):
                self._refill(source, now)
                if source.last is not None and source.room >= 1:
                    others = source.left_out - 1
                    text = f"{source.last.text} (and {others} others of its kind before it)" if others else source.last.text
                    yield evolve(source.last, text=text)
                    source.room, source.left_out, source.last = source.room - 1, 0, None
                elif source.room >= self._burst:
                    del self._sources[key]

    def _refill(self, source: _Source, now: float) -> None:
        source.room = min(float(self._burst), source.room + (now - source.at) / self._seconds)
        source.at = now
