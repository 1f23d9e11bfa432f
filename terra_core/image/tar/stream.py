"""A stream of byte pieces, taken in the portions that a tar reader needs."""

from __future__ import annotations

from collections.abc import Iterator

from terra_core.image.faults import ImageError

BLOCK = 512


class ByteStream:
    """Pieces of any length, one after the other.

    :param pieces: gives the bytes; none of the pieces is empty.
    """

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._piece = b""
        self._position = 0

    def block(self) -> bytes | None:
        """The next 512 bytes, or nothing at the end of the stream.

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
        """The next ``length`` bytes; the caller has checked that memory may hold them.

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
        """What is left, to the end."""
        while self._position < len(self._piece) or self._refill():
            yield self.some(len(self._piece))

    def _refill(self) -> bool:
        self._piece = next(self._pieces, b"")
        self._position = 0
        return bool(self._piece)
