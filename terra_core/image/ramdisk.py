"""Looking into an initial RAM disk: whether it holds a file, without unpacking it to disk.

An initial RAM disk is one cpio archive ("newc") or several, one after another, each of them plain or compressed; see the
kernel's ``Documentation/driver-api/early-userspace/buffer-format.rst``.
"""

from __future__ import annotations

import bz2
import lzma
import posixpath
from collections.abc import Callable, Iterator

from terra_core.oci.compression import BROKEN, GZIP, ZSTD, Decoder, decoder_of
from terra_core.oci.faults import ImageError

_HEADER = 110
_NAMES = (b"070701", b"070702")
_END = b"TRAILER!!!"
_LONGEST_NAME = 4096
_CHUNK = 1 << 18
_MOST = 8 << 30
_UNREADABLE: tuple[type[Exception], ...] = (*BROKEN, lzma.LZMAError, OSError, EOFError, ValueError)


class UnreadableError(ImageError):
    """An initial RAM disk that cannot be looked into, which says nothing of whether it boots."""


_COMPRESSED: dict[bytes, Callable[[], Decoder]] = {
    GZIP: lambda: decoder_of("gzip"),
    ZSTD: lambda: decoder_of("zstd"),
    b"\xfd7zXZ\x00": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=1 << 28),
    b"\x5d\x00\x00": lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=1 << 28),
    b"BZh": bz2.BZ2Decompressor,
}
_OTHERS = {b"\x02\x21\x4c\x18": "lz4", b"\x89LZO": "lzo"}


def holds(pieces: Iterator[bytes], wanted: str) -> bool:
    """Whether an initial RAM disk holds a file.

    :param pieces: its bytes.
    :param wanted: the file's path, without a leading slash.
    :raises UnreadableError: when it cannot be read to where that would be known.
    """
    try:
        return _stream_holds(_Source(pieces), wanted.encode(), packed=False)
    except _UNREADABLE as error:
        raise UnreadableError(f"it is broken: {error}") from error


def _stream_holds(source: _Source, wanted: bytes, *, packed: bool) -> bool:
    """Whether one of the archives of a stream holds a path.

    :param packed: whether the stream was compressed itself, and holds plain archives alone.
    """
    empty = True
    while source.skip_zeros():
        empty = False
        magic = source.peek(6)
        if magic in _NAMES:
            found = _archive_holds(source, wanted)
        else:
            decoder = None if packed else next((make() for start, make in _COMPRESSED.items() if magic.startswith(start)), None)
            if decoder is None:
                packer = next((name for start, name in _OTHERS.items() if magic.startswith(start)), "")
                raise UnreadableError(f"it is compressed by {packer}" if packer else "it is no cpio archive")
            found = _stream_holds(_Source(_inflated(source, decoder)), wanted, packed=True)
        if found:
            return True
    if empty:
        raise UnreadableError("it is empty")
    return False


class _Source:
    """Bytes that come in pieces; what was taken too much is put back."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""
        self._at = 0
        self._skipped = 0

    def peek(self, length: int) -> bytes:
        """The next bytes, or what is left."""
        while len(self._held) - self._at < length and (piece := next(self._pieces, b"")):
            self._held, self._at = self._held[self._at :] + piece, 0
        return self._held[self._at : self._at + length]

    def take(self, length: int) -> bytes:
        """Exactly so many bytes, at most a few thousand.

        :raises UnreadableError: when there are not so many.
        """
        found = self.peek(length)
        if len(found) < length:
            raise UnreadableError("it is cut off")
        self._at += length
        return found

    def take_some(self) -> bytes:
        """The next bytes, however many there are at hand; none at the end."""
        found = self._held[self._at :] or next(self._pieces, b"")
        self._held, self._at = b"", 0
        return found

    def put_back(self, content: bytes) -> None:
        """Give bytes back that were taken last."""
        self._held, self._at = content + self._held[self._at :], 0

    def skip(self, length: int) -> None:
        """Go on behind so many bytes."""
        self._skipped += length
        if self._skipped > _MOST:
            raise UnreadableError(f"it has more than {_MOST} bytes")
        self._at += length
        while self._at > len(self._held):
            self._at -= len(self._held)
            self._held = next(self._pieces, b"")
            if not self._held:
                raise UnreadableError("it is cut off")

    def skip_zeros(self) -> bool:
        """Go on to the first byte that is not zero; says whether there is one."""
        while True:
            self._held, self._at = self._held[self._at :].lstrip(b"\0"), 0
            if self._held:
                return True
            self._held = next(self._pieces, b"")
            if not self._held:
                return False


def _inflated(source: _Source, decoder: Decoder) -> Iterator[bytes]:
    total = 0
    while not decoder.eof:
        data = source.take_some() if decoder.needs_input else b""
        if decoder.needs_input and not data:
            raise UnreadableError("it is cut off")
        piece = decoder.decompress(data, _CHUNK)
        total += len(piece)
        if total > _MOST:
            raise UnreadableError(f"it has more than {_MOST} bytes")
        if piece:
            yield piece
    source.put_back(decoder.unused_data)


def _archive_holds(source: _Source, wanted: bytes) -> bool:
    """Whether an archive holds a path; without it, the source is behind the archive's end then."""
    while True:
        header = source.take(_HEADER)
        if header[:6] not in _NAMES:
            raise UnreadableError("it is no cpio archive")
        size, length = int(header[54:62], 16), int(header[94:102], 16)
        if not 0 < length <= _LONGEST_NAME:
            raise UnreadableError("it is no cpio archive")
        name = source.take(length + -(_HEADER + length) % 4)[:length].rstrip(b"\0")
        if name == _END:
            return False
        if posixpath.normpath(b"/" + name).lstrip(b"/") == wanted:
            return True
        source.skip(size + -size % 4)
