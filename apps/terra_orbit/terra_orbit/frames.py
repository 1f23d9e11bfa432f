"""Several streams on one: frames of a kind, a length and so many bytes, as the Docker Engine API has them.

https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach, "Stream format"
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

SILENCE = 0
OUTPUT = 1
ERROR = 2
_HEADER = struct.Struct("!BxxxL")
HEADER_SIZE = _HEADER.size
LONGEST = 64 * 1024
"""The most bytes that Orbit's agent puts into one frame."""


def frame(kind: int, data: bytes) -> bytes:
    """Return one frame."""
    return _HEADER.pack(kind, len(data)) + data


def parse_header(header: bytes) -> tuple[int, int]:
    """Kind and length of a frame."""
    kind, length = _HEADER.unpack(header)
    return int(kind), int(length)


class Frames:
    """Splits bytes into frames as they come; a long frame is given in parts."""

    def __init__(self) -> None:
        self._head = b""
        self._kind = SILENCE
        self._left = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the kind and content of the frames in ``data``; only an incomplete header is kept for the next call."""
        while data:
            if self._left:
                part, data = data[: self._left], data[self._left :]
                self._left -= len(part)
                yield self._kind, part
                continue
            wanted = HEADER_SIZE - len(self._head)
            self._head, data = self._head + data[:wanted], data[wanted:]
            if len(self._head) == HEADER_SIZE:
                (self._kind, self._left), self._head = parse_header(self._head), b""
                if not self._left:
                    yield self._kind, b""
