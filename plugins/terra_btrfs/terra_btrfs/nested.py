"""Subvolumes within a subvolume: every user of a machine can make them, and programs do (containers, systemd-tmpfiles(8)).

A subvolume cannot be deleted as long as it has any. They are found by their numbers alone: their names are their makers', and
what btrfs(8) lists has a line for each name, whatever is in it. The requests of ioctl(2) are those of ``linux/btrfs.h``.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

_LENGTH = 4096
_TREE_SEARCH, _INO_LOOKUP, _SNAP_DESTROY_V2 = 0xD0009411, 0xD0009412, 0x5000943F
_TOP_INODE = 256
_ROOT_TREE, _ROOT_REF = 1, 156
"""The tree that knows all subvolumes, and its keys from a subvolume to those within it."""
_KEY = struct.Struct("=7Q4I4Q")
"""``struct btrfs_ioctl_search_key``."""
_FOUND = struct.Struct("=3Q2I")
"""``struct btrfs_ioctl_search_header``."""
_DELETION = struct.Struct("=q7Q")
"""The beginning of ``struct btrfs_ioctl_vol_args_v2``, to the number of the subvolume."""
_MOST = 2**64 - 1
_BY_NUMBER = 1 << 4


def delete_nested(subvolume: Path) -> int:
    """Delete all subvolumes within one, at any depth; return how many there were.

    :raises OSError: when one cannot be deleted, such as one that is mounted or read-only.
    """
    descriptor = os.open(subvolume, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = [_number(descriptor)]
        for number in found:  # those within them are added meanwhile
            found += _within(descriptor, number)
        for number in reversed(found[1:]):
            asked = bytearray(_LENGTH)
            _DELETION.pack_into(asked, 0, 0, 0, _BY_NUMBER, 0, 0, 0, 0, number)
            fcntl.ioctl(descriptor, _SNAP_DESTROY_V2, asked)
    finally:
        os.close(descriptor)
    return len(found) - 1


def _number(descriptor: int) -> int:
    """Return the number of the subvolume of an open directory."""
    asked = bytearray(_LENGTH)
    struct.pack_into("=2Q", asked, 0, 0, _TOP_INODE)
    fcntl.ioctl(descriptor, _INO_LOOKUP, asked)
    (number,) = struct.unpack_from("=Q", asked)
    return int(number)


def _within(descriptor: int, number: int) -> Iterator[int]:
    """Yield the numbers of the subvolumes that lie directly in one."""
    following = 0
    while True:
        asked = bytearray(_LENGTH)
        _KEY.pack_into(
            asked, 0, _ROOT_TREE, number, number, following, _MOST, 0, _MOST, _ROOT_REF, _ROOT_REF, 1000, 0, 0, 0, 0, 0
        )
        fcntl.ioctl(descriptor, _TREE_SEARCH, asked)
        count = _KEY.unpack_from(asked)[9]
        at = _KEY.size
        for _ in range(count):
            _, _, child, _, length = _FOUND.unpack_from(asked, at)
            at += _FOUND.size + length
            yield child
            following = child + 1
        if not count:
            return
