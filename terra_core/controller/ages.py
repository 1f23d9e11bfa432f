"""How long something has lasted, by a clock that nobody sets.

What is kept in the database has a time of day. That of this host may be set at any moment, by years where it has no clock that
goes on without power, and a trial that is measured by it would end at once, or never.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection

from attrs import frozen

_PAUSE_SECONDS = 60.0
"""What was not there at the last look, so many seconds ago or less, has begun since."""


def _since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@frozen
class _Known:
    since: float
    age: float
    at: float


class Ages:
    """Measures how long things have lasted; for one thread.

    Of what had begun before this process looked, the time of day is all that there is.

    :param clock: gives seconds of a clock that goes on whatever happens.
    :param today: gives the seconds since 1970, as this host has them.
    """

    def __init__(self, clock: Callable[[], float] = _since_boot, today: Callable[[], float] = time.time) -> None:
        self._clock, self._today = clock, today
        self._looked: float | None = None
        self._watched = False
        self._known: dict[tuple[str, str], _Known] = {}

    def look(self, owners: Collection[str]) -> None:
        """Begin another look at everything; to be called every few seconds.

        :param owners: what of is still known; the others are forgotten.
        """
        now = self._clock()
        self._watched = self._looked is not None and now - self._looked <= _PAUSE_SECONDS
        self._looked = now
        self._known = {key: one for key, one in self._known.items() if key[0] in owners}

    def of(self, owner: str, what: str, since: float) -> float:
        """Return for how many seconds something has lasted.

        :param owner: whose it is, such as a machine's.
        :param what: what it is.
        :param since: when it began, by the time of day that this host had then; it is another thing when that is another time.
        """
        known, now = self._known.get((owner, what)), self._clock()
        if known is None or known.since != since:
            age = 0.0 if self._watched else max(0.0, self._today() - since)
            known = self._known[owner, what] = _Known(since, age, now)
        return known.age + now - known.at
