"""What a tar stream says about one file."""

from __future__ import annotations

from enum import Enum

from attrs import frozen

Segments = tuple[tuple[int, int], ...]
"""Offset and length of each piece of data in a sparse file, in ascending order."""


class Kind(Enum):
    """What an entry is."""

    FILE = "file"
    LINK = "hard link"
    SYMLINK = "symbolic link"
    CHARACTER = "character device"
    BLOCK = "block device"
    DIRECTORY = "directory"
    FIFO = "fifo"


@frozen(kw_only=True)
class Entry:
    """One entry, as it stands in the stream; nothing about its names is checked but that they hold no NUL.

    :param name: its path.
    :param kind: what it is.
    :param mode: permission, setuid, setgid and sticky bits.
    :param uid: numeric owner.
    :param gid: numeric group.
    :param mtime: time of the last change, in nanoseconds since 1970.
    :param atime: time of the last access, in nanoseconds since 1970.
    :param size: length of the file in bytes, holes included; zero for all but files.
    :param target: of a link.
    :param device: major and minor number of a device.
    :param xattrs: names and values, as bytes.
    :param segments: where the data of a sparse file belongs; ``None`` for all others.
    """

    name: bytes
    kind: Kind
    mode: int
    uid: int
    gid: int
    mtime: int
    atime: int
    size: int
    target: bytes
    device: tuple[int, int]
    xattrs: tuple[tuple[bytes, bytes], ...]
    segments: Segments | None
