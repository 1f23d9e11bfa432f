"""Looking into an initial RAM disk: what it holds, without unpacking it to disk.

An initial RAM disk is one cpio archive ("newc") or several, one after another, each of them plain or compressed; see the
kernel's ``Documentation/driver-api/early-userspace/buffer-format.rst``.
"""

from __future__ import annotations

import bz2
import lzma
import posixpath
import stat
from collections.abc import Callable, Iterator

from attrs import frozen

from terra_core.oci.compression import BROKEN, GZIP, ZSTD, Decoder, decoder_of
from terra_core.oci.faults import ImageError

_HEADER = 110
_NAMES = (b"070701", b"070702")
_END = b"TRAILER!!!"
_LONGEST_NAME = 4096
_CHUNK = 1 << 18
_MOST = 8 << 30
_MOST_ENTRIES = 200_000
_PROGRAMS = ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin")
_UNREADABLE: tuple[type[Exception], ...] = (*BROKEN, lzma.LZMAError, OSError, EOFError, ValueError)


class UnreadableError(ImageError):
    """An initial RAM disk that cannot be read; it may boot all the same."""


_COMPRESSED: dict[bytes, Callable[[], Decoder]] = {
    GZIP: lambda: decoder_of("gzip"),
    ZSTD: lambda: decoder_of("zstd"),
    b"\xfd7zXZ\x00": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=1 << 28),
    b"\x5d\x00\x00": lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=1 << 28),
    b"BZh": bz2.BZ2Decompressor,
}
_OTHERS = {b"\x02\x21\x4c\x18": "lz4", b"\x89LZO": "lzo"}


@frozen(kw_only=True)
class Contents:
    """What an initial RAM disk holds.

    :param paths: everything, without leading slashes.
    :param links: what of that is a symbolic link.
    :param unread: why there may be more; empty when this is all.
    """

    paths: frozenset[str]
    links: frozenset[str] = frozenset()
    unread: str = ""

    def has_program(self, name: str) -> bool:
        """Return whether a script in it finds a program of that name."""
        return any(f"{directory}/{name}" in self.paths for directory in _PROGRAMS)


def contents(pieces: Iterator[bytes]) -> Contents:
    """Return what an initial RAM disk holds, as far as it can be read; whatever it is, this raises nothing.

    :param pieces: its bytes.
    """
    found: dict[str, bool] = {}
    unread = ""
    try:
        _read_stream(_Source(pieces), found, packed=False)
    except UnreadableError as error:
        unread = error.message
    except _UNREADABLE as error:
        unread = f"it is broken: {error}"
    return Contents(
        paths=frozenset(found), links=frozenset(path for path, is_link in found.items() if is_link), unread=unread
    )


def _read_stream(source: _Source, found: dict[str, bool], *, packed: bool) -> None:
    """Note what the archives of a stream hold.

    :param found: takes each path, and whether it is a symbolic link.
    :param packed: whether the stream was compressed itself, and holds plain archives alone.
    """
    empty = True
    while source.skip_zeros():
        empty = False
        magic = source.peek(6)
        if magic in _NAMES:
            _read_archive(source, found)
            continue
        decoder = None if packed else next((make() for start, make in _COMPRESSED.items() if magic.startswith(start)), None)
        if decoder is None:
            packer = next((name for start, name in _OTHERS.items() if magic.startswith(start)), "")
            raise UnreadableError(f"it is compressed by {packer}" if packer else "it is no cpio archive")
        _read_stream(_Source(_inflated(source, decoder)), found, packed=True)
    if empty:
        raise UnreadableError("it is empty")


class _Source:
    """Bytes that come in pieces; surplus bytes can be put back."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""
        self._at = 0
        self._skipped = 0

    def peek(self, length: int) -> bytes:
        """Return the next bytes, or what is left, without taking them."""
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
        """Return the next bytes, however many there are at hand; none at the end."""
        found = self._held[self._at :] or next(self._pieces, b"")
        self._held, self._at = b"", 0
        return found

    def put_back(self, content: bytes) -> None:
        """Put the bytes back that were taken last."""
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
        """Go on to the first byte that is not zero; return whether there is one."""
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


def _read_archive(source: _Source, found: dict[str, bool]) -> None:
    """Note what an archive holds; the source is behind the archive's end then."""
    while True:
        header = source.take(_HEADER)
        if header[:6] not in _NAMES:
            raise UnreadableError("it is no cpio archive")
        mode, size, length = (int(header[at : at + 8], 16) for at in (14, 54, 94))
        if not 0 < length <= _LONGEST_NAME:
            raise UnreadableError("it is no cpio archive")
        name = source.take(length + -(_HEADER + length) % 4)[:length].rstrip(b"\0")
        if name == _END:
            return
        if len(found) >= _MOST_ENTRIES:
            raise UnreadableError(f"it has more than {_MOST_ENTRIES} files")
        path = posixpath.normpath(b"/" + name).lstrip(b"/")
        found[path.decode(errors="surrogateescape")] = stat.S_ISLNK(mode)
        source.skip(size + -size % 4)
