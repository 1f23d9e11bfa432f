"""Extended headers of the pax format (POSIX.1-2017), and the attributes that star and GNU tar put there."""

from __future__ import annotations

import re

from attrs import define, field

from terra_core.oci.faults import ImageError, shown

_XATTR = b"SCHILY.xattr."
_TIME = re.compile(rb"(-?)([0-9]{1,18})(?:\.([0-9]*))?\Z")
_NUMBER = re.compile(rb"[0-9]{1,19}\Z")
_NANO = 1_000_000_000

_SPARSE = b"GNU.sparse."


@define
class Extended:
    """What the extended headers before an entry said, later records above earlier ones.

    :param values: the records that are no extended attributes, by key.
    :param xattrs: extended attributes by name.
    :param sparse_pairs: offsets and lengths of GNU's sparse format 0.0, which repeats its keys.
    """

    values: dict[bytes, bytes] = field(factory=dict)
    xattrs: dict[bytes, bytes] = field(factory=dict)
    sparse_pairs: list[int] = field(factory=list)

    def number(self, key: bytes, otherwise: int) -> int:
        """Return the value of ``key`` as a whole number, or ``otherwise`` where there is none.

        :raises ImageError: when it is something else.
        """
        raw = self.values.get(key)
        return parse_number(raw, key) if raw else otherwise

    def owner(self, key: bytes, otherwise: int) -> int:
        """Return the value of ``key`` as the number of a user or group, or ``otherwise`` where there is none.

        :raises ImageError: when it is something else.
        """
        raw = self.values.get(key, b"")
        return -parse_number(raw[1:], key) if raw.startswith(b"-") else self.number(key, otherwise)

    def time(self, key: bytes, otherwise: int) -> int:
        """Return the value of ``key`` as nanoseconds, or ``otherwise`` where there is none.

        :raises ImageError: when it is no time.
        """
        raw = self.values.get(key)
        if not raw:
            return otherwise
        found = _TIME.match(raw)
        if not found:
            raise ImageError(f"pax header: {shown(key)}={shown(raw)} is no time")
        sign, seconds, fraction = found.groups()
        value = int(seconds) * _NANO + int(((fraction or b"") + b"0" * 9)[:9])
        return -value if sign else value

    def name(self, key: bytes, otherwise: bytes) -> bytes:
        """Return the value of ``key`` as a name, or ``otherwise`` where there is none.

        :raises ImageError: when it holds a NUL.
        """
        raw = self.values.get(key) or otherwise
        if b"\0" in raw:
            raise ImageError(f"pax header: {shown(key)} holds a NUL")
        return raw


def parse_pax(content: bytes, into: Extended, xattr_bytes: int) -> None:
    """Read the records of an extended header.

    :param content: the data of the header.
    :param into: takes the records.
    :param xattr_bytes: the longest value of an extended attribute.
    :raises ImageError: when a record's length is wrong or a value is too long.
    """
    position = 0
    while position < len(content):
        space = content.find(b" ", position, position + 20)
        length = content[position:space] if space > 0 else b""
        end = position + (int(length) if length.isdigit() else 0)
        key, equals, value = content[space + 1 : end - 1].partition(b"=")
        if end <= space + 1 or end > len(content) or content[end - 1] != 0x0A or not equals or not key:
            raise ImageError("pax header: broken record")
        _store(key, value, into, xattr_bytes)
        position = end


def parse_number(raw: bytes, what: bytes) -> int:
    """Parse a whole number in decimal digits.

    :raises ImageError: naming ``what``, when it is something else.
    """
    if not _NUMBER.match(raw):
        raise ImageError(f"pax header: {shown(what)}={shown(raw)} is no number")
    return int(raw)


def _store(key: bytes, value: bytes, into: Extended, xattr_bytes: int) -> None:
    if key.startswith(_XATTR):
        name = key[len(_XATTR) :]
        if len(value) > xattr_bytes:
            raise ImageError(f"xattr {shown(name)} has {len(value)} bytes; more than {xattr_bytes} are refused")
        if not name or b"\0" in name:
            raise ImageError(f"pax header: {shown(key)} names no xattr")
        into.xattrs[name] = value
    elif key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
        if (key == b"GNU.sparse.numbytes") != bool(len(into.sparse_pairs) % 2):
            raise ImageError("pax header: the sparse map is out of order")
        into.sparse_pairs.append(parse_number(value, key))
    else:
        into.values[key] = value
