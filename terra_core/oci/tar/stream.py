"""A stream of byte pieces, taken in the portions that a tar reader needs."""

from __future__ import annotations

import os
from collections.abc import Iterator

from terra_core.oci.faults import ImageError

BLOCK = 512
_READ_AT_ONCE = 64 << 10


class ByteStream:
    """Pieces of any length, one after the other.

    :param pieces: gives the bytes; none of the pieces is empty.
    """

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = b""
        self._position = 0

    def block(self) -> bytes | None:
        """Return the next 512 bytes, or nothing at the end of the stream.

        :raises ImageError: when the stream ends inside the block.
        """
        position = self._position
        block = self._piece[position : position + BLOCK]
        if len(block) == BLOCK:
            self._position = position + BLOCK
            return block
        if not block and not self._refill():
            return None
        return self.exactly(BLOCK)

    def exactly(self, length: int) -> bytes:
        """Return the next ``length`` bytes; the caller has checked that memory may hold them.

        :raises ImageError: when the stream ends before.
        """
        parts = []
        while length:
            part = self.some(length)
            length -= len(part)
            parts.append(part)
        return b"".join(parts)

    def some(self, most: int) -> memoryview:
        """At least one and at most ``most`` of the next bytes, without a copy.

        :raises ImageError: when the stream is at its end.
        """
        if self._position == len(self._piece) and not self._refill():
            raise ImageError("the tar stream is cut off")
        part = memoryview(self._piece)[self._position : self._position + most]
        self._position += len(part)
        return part

    def skip(self, length: int) -> None:
        """Pass over the next ``length`` bytes.

        :raises ImageError: when the stream ends before.
        """
        while length:
            length -= len(self.some(length))

    def rest(self) -> Iterator[memoryview]:
        """Yield what is left, to the end."""
        while self._position < len(self._piece) or self._refill():
            yield self.some(len(self._piece))

    def _refill(self) -> bool:
        self._piece = next(self._pieces, b"")
        self._position = 0
        return bool(self._piece)


class FileStream(ByteStream):
    """The bytes of a file, which passes over what is skipped without reading it.

    :param fd: its descriptor, of which only :manpage:`pread(2)` is used.
    """

    def __init__(self, fd: int) -> None:
        super().__init__(self._read())
        self._fd = fd
        self._end = 0

    @property
    def offset(self) -> int:
        """Where in the file the next byte stands."""
        return self._end - (len(self._piece) - self._position)

    def skip(self, length: int) -> None:
        """Pass over the next ``length`` bytes.

        :raises ImageError: when the file ends before.
        """
        held = len(self._piece) - self._position
        if length <= held:
            self._position += length
            return
        if self._end + length - held > os.fstat(self._fd).st_size:
            raise ImageError("the tar stream is cut off")
        self._end += length - held
        self._position = len(self._piece)

    def _read(self) -> Iterator[bytes]:
        while piece := os.pread(self._fd, _READ_AT_ONCE, self._end):
            self._end += len(piece)
            yield piece
