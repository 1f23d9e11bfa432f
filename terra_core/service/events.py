"""Server-sent events as the HTML standard has them (section 9.2), as far as Terra's daemons use them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

MOST_BYTES = 16 * 1024 * 1024
"""The longest line, and the longest data of one event; the result of an operation is one event."""


def parse_events(pieces: Iterable[bytes], whole: Callable[[], None] = lambda: None) -> Iterator[tuple[str, Any]]:
    """Yield the events of a stream: the type of each, and its data, which is JSON.

    :param pieces: the stream, however it is cut.
    :param whole: called whenever a line was read to its end.
    :raises ValueError: when it is no such stream, or a line or an event has no end.
    """
    kind, data = "message", ""
    for line in _lines(pieces):
        whole()
        name, _, value = line.partition(":")
        if name == "event":
            kind = value.strip()
        elif name == "data":
            data += value.strip()
            if len(data) > MOST_BYTES:
                raise ValueError("an event without end")
        elif not line and data:
            try:
                told = json.loads(data)
            except RecursionError:
                raise ValueError("an event that is nested too deeply") from None
            yield kind, told
            kind, data = "message", ""


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """Yield the lines of a stream, which end by CR LF, LF or CR; a piece may end between CR and LF."""
    begun, length, after_cr = list[bytes](), 0, False
    for piece in pieces:
        rest = piece[1:] if after_cr and piece.startswith(b"\n") else piece
        after_cr = piece.endswith(b"\r")
        *ends, last = rest.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        for end in ends:
            yield b"".join((*begun, end)).decode()
            begun, length = [], 0
        begun.append(last)
        length += len(last)
        if length > MOST_BYTES:
            raise ValueError("a line without end")
    if begun:
        yield b"".join(begun).decode()
