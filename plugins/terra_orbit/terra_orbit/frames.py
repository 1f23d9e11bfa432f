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


def frame(kind: int, data: bytes) -> bytes:
    """One frame."""
    return _HEADER.pack(kind, len(data)) + data


def parse_header(header: bytes) -> tuple[int, int]:
    """Kind and length of a frame."""
    kind, length = _HEADER.unpack(header)
    return int(kind), int(length)


class Frames:
    """Takes bytes as they come, and gives the frames that are complete."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The frames that ``data`` completes."""
        self._rest += data
        while len(self._rest) >= HEADER_SIZE:
            kind, length = parse_header(self._rest[:HEADER_SIZE])
            if len(self._rest) < HEADER_SIZE + length:
                return
            yield kind, self._rest[HEADER_SIZE : HEADER_SIZE + length]
            self._rest = self._rest[HEADER_SIZE + length :]
