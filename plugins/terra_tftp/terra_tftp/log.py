"""The log of a service that appends to it, read on from a position, and kept to a bound."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from terra_core.system.reading import lines_of

_AT_ONCE = 1024 * 1024
"""The most bytes that are read in one go; the rest is read the next time."""
_LONGEST = 40


@frozen
class Log:
    """A log in memory (``/run``), and the one before it.

    :param path: the file, which its service opens once, to append to it.
    :param former: what was in it before it was made anew.
    :param limit: the largest size, in bytes.
    """

    path: Path
    former: Path
    limit: int

    def renew(self) -> None:
        """Put the log away, before its service is started again."""
        with suppress(FileNotFoundError):
            self.path.replace(self.former)

    def bound(self) -> None:
        """Empty the log where it is too large; its service goes on at the end of the file, wherever that is (O_APPEND)."""
        with suppress(FileNotFoundError):
            if self.path.stat().st_size > self.limit:
                shutil.copyfile(self.path, self.former)
                os.truncate(self.path, 0)

    def read(self, position: str) -> tuple[list[str], str]:
        """Return the whole lines after a position, and the position after them.

        :param position: what this returned before: the file, by its number, and how much of it was read; any other text is
            the beginning of what is kept.
        """
        number, offset = _parsed(position)
        with suppress(FileNotFoundError), self.path.open("rb") as log:
            found = os.fstat(log.fileno())
            rest = b""
            if number and (found.st_ino != number or found.st_size < offset):  # it was made anew since
                rest, offset = _whole_lines(self._former_after(offset)), 0
            log.seek(offset)
            new = _whole_lines(log.read(_AT_ONCE))
            return lines_of((rest + new).decode(errors="replace")), f"{found.st_ino}:{offset + len(new)}"
        return [], position

    def _former_after(self, offset: int) -> bytes:
        with suppress(FileNotFoundError), self.former.open("rb") as log:
            log.seek(offset)
            return log.read()
        return b""


def _whole_lines(content: bytes) -> bytes:
    return content[: content.rfind(b"\n") + 1]


def _parsed(position: str) -> tuple[int, int]:
    number, _, offset = position.partition(":")
    known = len(position) < _LONGEST and position.isascii() and number.isdecimal() and offset.isdecimal()
    return (int(number), int(offset)) if known else (0, 0)
