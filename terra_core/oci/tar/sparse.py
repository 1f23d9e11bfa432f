"""Sparse files in tar: GNU's old format and its pax formats 0.0, 0.1 and 1.0."""

from __future__ import annotations

from collections.abc import Iterable

from terra_core.oci.faults import ImageError
from terra_core.oci.limits import Limits
from terra_core.oci.tar.entry import Segments
from terra_core.oci.tar.header import Header, number
from terra_core.oci.tar.pax import Extended, parse_number
from terra_core.oci.tar.stream import BLOCK, ByteStream

_OLD_FIRST = (386, 4, 482)
_OLD_MORE = (0, 21, 504)
_REAL_SIZE = slice(483, 495)


def old_map(header: Header, stream: ByteStream, limits: Limits) -> tuple[int, Segments]:
    """Read the map of the old GNU format (type ``S``) from the header and the blocks that follow it.

    :returns: the file's length and its segments.
    :raises ImageError: when the map is broken or too long.
    """
    pairs: list[int] = []
    more = _old_pairs(header.block, _OLD_FIRST, pairs)
    while more:
        if len(pairs) > 2 * limits.sparse_segments:
            raise _too_many(limits)
        more = _old_pairs(stream.exactly(BLOCK), _OLD_MORE, pairs)
    size = number(header.block[_REAL_SIZE])
    return size, _segments(pairs, size, header.size, limits)


def pax_map(extended: Extended, stored: int, stream: ByteStream, limits: Limits) -> tuple[int, Segments, int] | None:
    """Read the map of a pax format, if the extended header has one.

    :param stored: bytes of data that the entry has in the stream.
    :param stream: stands at the data; format 1.0 has its map there.
    :returns: the file's length, its segments, and the bytes of data that are left in the stream.
    :raises ImageError: when the map is broken or too long.
    """
    values = extended.values
    if values.get(b"GNU.sparse.major") == b"1" and values.get(b"GNU.sparse.minor") == b"0":
        pairs, taken = _data_map(stream, stored, limits)
        stored -= taken
    elif b"GNU.sparse.map" in values:
        pairs = [parse_number(raw, b"GNU.sparse.map") for raw in values[b"GNU.sparse.map"].split(b",") if raw]
    elif extended.sparse_pairs:
        pairs = extended.sparse_pairs
    elif b"GNU.sparse.major" in values:
        raise ImageError("a sparse format that is not known")
    else:
        return None
    size = extended.number(b"GNU.sparse.realsize", extended.number(b"GNU.sparse.size", -1))
    return size, _segments(pairs, size, stored, limits), stored


def _old_pairs(block: bytes, place: tuple[int, int, int], pairs: list[int]) -> bool:
    start, count, more = place
    for position in range(start, start + 24 * count, 24):
        if not block[position] and not block[position + 12]:
            break
        pairs += (number(block[position : position + 12]), number(block[position + 12 : position + 24]))
    return block[more] != 0


def _data_map(stream: ByteStream, stored: int, limits: Limits) -> tuple[list[int], int]:
    """Decimal numbers, a line each: the count of the pairs, then the pairs; padded to a whole block."""
    numbers: list[int] = []
    taken = 0
    rest = b""
    while not numbers or len(numbers) < 1 + 2 * numbers[0]:
        taken += BLOCK
        if taken > stored or len(rest) > BLOCK:
            raise ImageError("the sparse map is broken")
        *lines, rest = (rest + stream.exactly(BLOCK)).split(b"\n")
        for line in lines:
            if not numbers or len(numbers) < 1 + 2 * numbers[0]:
                numbers.append(parse_number(line, b"the sparse map"))
        if numbers and numbers[0] > limits.sparse_segments:
            raise _too_many(limits)
    return numbers[1:], taken


def _segments(pairs: Iterable[int], size: int, stored: int, limits: Limits) -> Segments:
    numbers = list(pairs)
    if len(numbers) > 2 * limits.sparse_segments:
        raise _too_many(limits)
    segments = tuple(zip(numbers[::2], numbers[1::2], strict=False))
    end = 0
    for offset, length in segments:
        if length < 0 or offset < end:
            raise ImageError("the sparse map's segments overlap or stand in the wrong order")
        end = offset + length
    if len(numbers) % 2 or end > size or sum(numbers[1::2]) != stored:
        raise ImageError("the sparse map does not fit the file")
    return segments


def _too_many(limits: Limits) -> ImageError:
    return ImageError(f"the sparse map has more than {limits.sparse_segments} segments")
