"""Limiting the times in a layer to a given one, as BuildKit's ``rewrite-timestamp`` does.

What a build step writes carries the time of the build, and so do the directories that it writes to. With all of these set to
one time, the same files are the same layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from math import ceil

from terra_core.oci import ImageError, Limits
from terra_core.oci.tar.header import parse_header
from terra_core.oci.tar.stream import BLOCK, ByteStream

_ZERO = bytes(BLOCK)
_MTIME = slice(136, 148)
_CHECKSUM = slice(148, 156)
_SIZE = slice(124, 136)
_TIMES = (b"mtime", b"atime", b"ctime")
_EXTENDED_AT, _EXTENDED_MORE_AT = 482, 504


def rfc3339(epoch: int) -> str:
    """Return seconds since 1970 as RFC 3339 writes them."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def clamped(pieces: Iterator[bytes], epoch: int) -> Iterator[bytes]:
    """Return a layer's tar with every time that is later than ``epoch`` set to it, and nothing else changed.

    :param pieces: the uncompressed layer.
    :param epoch: seconds since 1970.
    :raises ImageError: when it is no tar.
    """
    stream = ByteStream(pieces)
    size: int | None = None
    while (block := stream.block()) is not None and block != _ZERO:
        header = parse_header(block)
        if header.type == b"x":
            content, size = _clamp_records(_content(stream, header.size), epoch)
            yield _numbered(block, _SIZE, len(content)) + content + bytes(-len(content) % BLOCK)
            continue
        if header.type in (b"g", b"L", b"K"):
            yield block + _content(stream, header.size) + bytes(-header.size % BLOCK)
            continue
        yield _numbered(block, _MTIME, epoch) if header.mtime > epoch else block
        if header.type == b"S" and block[_EXTENDED_AT]:
            yield from _sparse_map(stream)
        left = header.size if size is None else size
        left, size = (left + -left % BLOCK) if header.type in (b"0", b"\0", b"7", b"S") else 0, None
        while left:
            piece = bytes(stream.some(left))
            left -= len(piece)
            yield piece
    if block is not None:
        yield block
        yield from (bytes(piece) for piece in stream.rest())


def _content(stream: ByteStream, size: int) -> bytes:
    """Return the data of an extended header, without its padding."""
    if not 0 <= size <= Limits().header_bytes:
        raise ImageError(f"an extended header of {size} bytes")
    content = stream.exactly(size)
    stream.skip(-size % BLOCK)
    return content


def _sparse_map(stream: ByteStream) -> Iterator[bytes]:
    more = True
    while more:
        block = stream.exactly(BLOCK)
        more = bool(block[_EXTENDED_MORE_AT])
        yield block


def _numbered(block: bytes, place: slice, number: int) -> bytes:
    """Return a header with another number in a field of twelve bytes."""
    changed = bytearray(block)
    changed[place] = b"%011o\0" % number
    changed[_CHECKSUM] = b" " * 8
    changed[_CHECKSUM] = b"%06o\0 " % sum(changed)
    return bytes(changed)


def _clamp_records(content: bytes, epoch: int) -> tuple[bytes, int | None]:
    """Return the records of an extended header with no later time, and the size of the file, where they tell it."""
    records, size = [], None
    position = 0
    while position < len(content):
        length = content[position : position + 20].partition(b" ")[0]
        end = position + int(length) if length.isdigit() else 0
        key, equals, value = content[position + len(length) + 1 : end - 1].partition(b"=")
        if not equals or end > len(content):
            raise ImageError("pax header: broken record")
        if key in _TIMES and _seconds(value) > epoch:
            records.append(_record(key, b"%d" % epoch))
        else:
            records.append(content[position:end])
        size = int(value) if key == b"size" and value.isdigit() else size
        position = end
    return b"".join(records), size


def _seconds(value: bytes) -> int:
    try:
        return ceil(float(value))
    except (ValueError, OverflowError):
        raise ImageError("pax header: a time is no number") from None


def _record(key: bytes, value: bytes) -> bytes:
    """Return a record, whose length counts the digits of the length as well."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + 1
    while len(b"%d" % length) + len(rest) != length:
        length = len(b"%d" % length) + len(rest)
    return b"%d" % length + rest
