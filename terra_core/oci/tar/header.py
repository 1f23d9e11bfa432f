"""Tar header blocks: the ustar format of POSIX.1-2017 (``pax``), GNU's and version 7's."""

from __future__ import annotations

import struct

from attrs import frozen

from terra_core.oci.faults import ImageError

_FIELDS = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
_POSIX = b"ustar\x0000"
_GNU = b"ustar  \x00"
_EXTENSIONS = (b"x", b"g", b"L", b"K")
_DEVICES = (b"3", b"4")


@frozen
class Header:
    """A header block whose checksum is right.

    :param name: with the prefix of the ustar format before it.
    :param mode: type bits included; this and all but name and size are zero in an extended header.
    :param uid: numeric owner.
    :param gid: numeric group.
    :param size: bytes of data that follow.
    :param mtime: in seconds.
    :param type: the type flag.
    :param target: of a link.
    :param device: major and minor number; zeros where the format has none.
    :param block: all 512 bytes.
    """

    name: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    type: bytes
    target: bytes
    device: tuple[int, int]
    block: bytes


def parse_header(block: bytes) -> Header:
    """Read a header block.

    :param block: 512 bytes that are not all zero.
    :raises ImageError: when the checksum is wrong or a number is none.
    """
    name, mode, uid, gid, size, mtime, checksum, kind, target, magic, _, _, major, minor, prefix = _FIELDS.unpack(block)
    _check(block, checksum)
    name = text(name)
    if kind in _EXTENSIONS:
        return Header(name, 0, 0, 0, number(size), 0, kind, b"", (0, 0), block)
    if magic == _POSIX and prefix[0]:
        name = text(prefix) + b"/" + name
    device = (number(major), number(minor)) if kind in _DEVICES and magic in (_POSIX, _GNU) else (0, 0)
    return Header(name, number(mode), number(uid), number(gid), number(size), number(mtime), kind, text(target), device, block)


def text(raw: bytes) -> bytes:
    """Return the bytes of a field up to the first NUL."""
    return raw.partition(b"\0")[0]


def number(raw: bytes) -> int:
    """Return the number in a field: octal digits, or GNU's base 256, which can be negative.

    :raises ImageError: when the field holds something else.
    """
    digits = raw.strip(b" \0")
    if digits.isdigit():
        try:
            return int(digits, 8)
        except ValueError:
            pass
    elif not digits:
        return 0
    elif raw[0] in (0x80, 0xFF):
        return int.from_bytes(raw[1:], "big") - (256 ** (len(raw) - 1) if raw[0] == 0xFF else 0)
    raise ImageError(f"{raw!r} is no number of a tar header")


def _check(block: bytes, field: bytes) -> None:
    expected = number(field)
    rest = block[:148] + b" " * 8 + block[156:]
    if sum(rest) == expected:
        return
    # Some writers of the version 7 format added the bytes up as signed ones.
    if sum(byte - 256 if byte > 127 else byte for byte in rest) != expected:
        raise ImageError("the checksum of a tar header is wrong")
