"""From a stream of bytes to entries."""

from __future__ import annotations

import stat
from collections.abc import Iterator

from terra_core.oci.faults import ImageError
from terra_core.oci.limits import Tally
from terra_core.oci.tar.entry import Entry, Kind, Segments
from terra_core.oci.tar.header import Header, parse_header
from terra_core.oci.tar.pax import Extended, parse_pax
from terra_core.oci.tar.sparse import old_map, pax_map
from terra_core.oci.tar.stream import BLOCK, ByteStream

_ZERO = bytes(BLOCK)
_NANO = 1_000_000_000
_IDS = 1 << 32
_MOST_MAJOR, _MOST_MINOR = (1 << 12) - 1, (1 << 20) - 1
_MOST_EXTENSIONS = 8
_MOST_SECONDS = 1 << 53

_KINDS = {
    b"0": Kind.FILE,
    b"\0": Kind.FILE,
    b"7": Kind.FILE,
    b"S": Kind.FILE,
    b"1": Kind.LINK,
    b"2": Kind.SYMLINK,
    b"3": Kind.CHARACTER,
    b"4": Kind.BLOCK,
    b"5": Kind.DIRECTORY,
    b"D": Kind.DIRECTORY,  # GNU's incremental dumps, with a list of its files as data
    b"6": Kind.FIFO,
}


class TarReader:
    """The entries of a tar stream, in order.

    Global pax headers are passed over, as every container engine does. A stream may end without the two zero blocks; after
    them nothing but zeros may follow.

    :param stream: the bytes.
    :param tally: counts the entries, and knows the limits.
    """

    def __init__(self, stream: ByteStream, tally: Tally) -> None:
        self._stream = stream
        self._tally = tally
        self._limits = tally.limits
        self._left = 0
        self._padding = 0
        self.at = b""
        """The name of the entry that was looked at last, for messages."""

    def __iter__(self) -> Iterator[Entry]:
        while (entry := self._next()) is not None:
            yield entry
            self._stream.skip(self._left + self._padding)
            self._left = self._padding = 0

    def content(self) -> Iterator[memoryview]:
        """Yield the data of the last entry as it is stored: without the holes of a sparse file."""
        while self._left:
            piece = self._stream.some(self._left)
            self._left -= len(piece)
            yield piece

    def _next(self) -> Entry | None:
        extended: Extended | None = None
        long_names: dict[bytes, bytes] = {}
        extensions = 0
        while (block := self._stream.block()) is not None:
            if block == _ZERO:
                self._end(inside=extended is not None or bool(long_names))
                return None
            header = parse_header(block)
            self.at = header.name
            if header.type in (b"x", b"X"):  # the latter is Sun's, before the standard had its own
                extended = extended or Extended()
                parse_pax(self._extension(header), extended, self._limits.xattr_bytes)
            elif header.type in (b"g", b"V"):  # a label of the whole, as GNU tar writes it
                self._extension(header)
            elif header.type in (b"L", b"K"):
                long_names[header.type] = self._extension(header).rstrip(b"\0")
            else:
                self._tally.count_entry()
                return self._entry(header, extended or Extended(), long_names)
            extensions += 1
            if extensions > _MOST_EXTENSIONS:
                raise ImageError(f"more than {_MOST_EXTENSIONS} extended headers before one entry")
        if extended is not None or long_names:
            raise ImageError("the tar stream is cut off after an extended header")
        return None

    def _end(self, inside: bool) -> None:
        if inside:
            raise ImageError("the tar stream ends after an extended header")
        if self._stream.block() not in (_ZERO, None):
            raise ImageError("a lone zero block inside the tar stream")
        for piece in self._stream.rest():
            if any(piece):
                raise ImageError("something follows the end of the tar stream")

    def _extension(self, header: Header) -> bytes:
        if not 0 <= header.size <= self._limits.header_bytes:
            raise ImageError(f"an extended header of {header.size} bytes; more than {self._limits.header_bytes} are refused")
        content = self._stream.exactly(header.size)
        self._stream.skip(-header.size % BLOCK)
        return content

    def _entry(self, header: Header, extended: Extended, long_names: dict[bytes, bytes]) -> Entry:
        kind = _KINDS.get(header.type)
        name = extended.name(b"path", header.name)
        name = _whole(long_names.get(b"L") or extended.name(b"GNU.sparse.name", name))
        self.at = name
        if kind is None:
            raise ImageError(f"an entry of unknown type {header.type!r}")
        if header.type == b"\0" and name.endswith(b"/"):
            kind = Kind.DIRECTORY
        size, segments = self._data(header, extended) if kind is Kind.FILE else (0, None)
        if header.type == b"D":
            self._data(header, extended)
        uid, gid, mode = self._owners(header, extended)
        mtime = _time(extended.time(b"mtime", header.mtime * _NANO))
        return Entry(
            name=name,
            kind=kind,
            mode=mode,
            uid=uid,
            gid=gid,
            mtime=mtime,
            atime=_time(extended.time(b"atime", mtime)),
            size=size,
            target=_whole(long_names.get(b"K") or extended.name(b"linkpath", header.target)),
            device=_device(header.device) if kind in (Kind.CHARACTER, Kind.BLOCK) else (0, 0),
            xattrs=tuple(extended.xattrs.items()),
            segments=segments,
        )

    def _owners(self, header: Header, extended: Extended) -> tuple[int, int, int]:
        """Owner, group and mode as the kernel has them.

        The highest number, or -1, means "leave as it is" to :manpage:`chown(2)`: such a file belongs to root, as with other
        tools, without setuid or setgid.
        """
        uid, gid = extended.owner(b"uid", header.uid), extended.owner(b"gid", header.gid)
        mode = header.mode & 0o7777
        for number in (uid, gid):
            if not -_IDS // 2 <= number < _IDS:
                raise ImageError(f"owner {number} is no user or group id")
        uid, gid = uid % _IDS, gid % _IDS  # writers that hold ids in signed numbers write those of the upper half below zero
        if uid == _IDS - 1:
            self._tally.left_out.note(f"the owner {uid}", "Linux has no such user, so it is root's", self.at)
            uid, mode = 0, mode & ~stat.S_ISUID
        if gid == _IDS - 1:
            self._tally.left_out.note(f"the group {gid}", "Linux has no such group, so it is root's", self.at)
            gid, mode = 0, mode & ~stat.S_ISGID
        return uid, gid, mode

    def _data(self, header: Header, extended: Extended) -> tuple[int, Segments | None]:
        stored = extended.number(b"size", header.size)
        if stored < 0:
            raise ImageError(f"a file of {stored} bytes")
        self._padding = -stored % BLOCK
        size, segments, left = stored, None, stored
        if header.type == b"S":
            size, segments = old_map(header, self._stream, self._limits)
        elif (found := pax_map(extended, stored, self._stream, self._limits)) is not None:
            size, segments, left = found
        self._left = left
        return size, segments


def _whole(name: bytes) -> bytes:
    if b"\0" in name:
        raise ImageError("a long name holds a NUL")
    return name


def _time(nanoseconds: int) -> int:
    if not -_MOST_SECONDS <= nanoseconds // _NANO <= _MOST_SECONDS:
        raise ImageError(f"a time of {nanoseconds // _NANO} seconds since 1970")
    return nanoseconds


def _device(numbers: tuple[int, int]) -> tuple[int, int]:
    major, minor = numbers
    if not (0 <= major <= _MOST_MAJOR and 0 <= minor <= _MOST_MINOR):
        raise ImageError(f"{major}:{minor} is no device number")
    return numbers
