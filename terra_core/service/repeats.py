"""A limit for repeated log records of libraries: a peer could fill the disk with a thousand lines a second."""

from __future__ import annotations

import logging
import time

_SECONDS = 60.0
_MOST = 1000


class Repeats(logging.Filter):
    """A filter that passes each kind of record once a minute, with the number of those left out since.

    A kind is a place in the code and the message before anything is put into it, so that what a peer sends makes no new one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[object, ...], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is logged."""
        key = (record.name, record.pathname, record.lineno, record.levelno)
        now = time.monotonic()
        said, left_out = self._last.get(key, (-_SECONDS, 0))
        if now - said < _SECONDS:
            self._last[key] = (said, left_out + 1)
            return False
        if len(self._last) >= _MOST:
            self._last.clear()
        self._last[key] = (now, 0)
        if left_out:
            record.msg, record.args = f"{record.getMessage()} (and {left_out} more of these since)", ()
        return True
