"""The steps of an installation, with the seconds that each took."""

from __future__ import annotations

import time
from collections.abc import Callable

from terra_core.system.progress import Event, Report

ALL = ("plan", "clear", "partition", "format", "apply", "identity", "sync", "boot", "record", "ready")
"""The steps that every installation goes through, in order; ``pull`` goes on beside those up to ``apply``."""


class Stopwatch:
    """Passes events on, and notes how long each step lasts: until the first event of another. The first began with the watch.

    :param report: who listens.
    :param clock: gives seconds.
    """

    def __init__(self, report: Report, clock: Callable[[], float] = time.monotonic) -> None:
        self._report = report
        self._clock = clock
        self._began = self._since = clock()
        self._step = ""
        self._seconds: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        """Take an event."""
        self._turn(event.step)
        self._report(event)

    def seconds(self) -> dict[str, float]:
        """Return the seconds that each step took up to now, in the order that they began."""
        self._turn(self._step)
        return dict(self._seconds)

    @property
    def elapsed(self) -> float:
        """Seconds since the beginning."""
        return self._clock() - self._began

    def _turn(self, step: str) -> None:
        now = self._clock()
        if self._step:
            self._seconds[self._step] = self._seconds.get(self._step, 0.0) + now - self._since
            self._since = now
        self._step = step
        if step:
            self._seconds.setdefault(step, 0.0)
