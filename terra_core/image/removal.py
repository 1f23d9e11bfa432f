"""Removing trees of any depth, with a fixed number of descriptors and no following of links."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from enum import Enum, auto

from attrs import define

from terra_core.image.directories import IMPLIED_MODE, Identity
from terra_core.image.metadata import clear_xattrs
from terra_core.oci.faults import ImageError
from terra_core.system.openat import DIRECTORY


class Fate(Enum):
    """What is done with an entry of a tree that is removed."""

    GOES = auto()
    STAYS = auto()
    """It stays; what is below it is asked about separately."""
    UNTOUCHED = auto()
    """It stays with all that is below it."""


Keep = Callable[[Identity, bytes], Fate]
"""Returns the fate of the entry of this name in the directory with this identity."""


@define
class _Level:
    name: bytes
    identity: Identity
    times: tuple[int, int]
    names: list[bytes]
    stays: bool
    changed: bool = False
    held: bool = False


def remove(directory: int, name: bytes, keep: Keep | None = None) -> bool:
    """Remove a file or a whole tree, all but what is to be kept, and the directories above that.

    :param directory: the descriptor of the directory that holds it.
    :param name: what to remove; need not exist.
    :param keep: what stays; nothing when left out. Not asked about ``name`` itself.
    :returns: whether it is gone. A mount point stays, empty, and the directories above it: root's, with mode 0755.
    """
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return True
    except IsADirectoryError:
        pass
    else:
        return True
    fd = os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
    try:
        level = _emptied(fd, keep)
        if level.stays:
            return False
        if level.held or not _rmdir(name, directory):
            _make_anew(fd)
            return False
    finally:
        os.close(fd)
    return True


def empty(directory: int, keep: Keep | None = None) -> bool:
    """Remove everything in a directory, all but what is to be kept, and the directories above that.

    :param directory: the descriptor of the directory, which itself stays.
    :param keep: what stays; nothing when left out.
    :returns: whether anything stayed.
    """
    level = _emptied(directory, keep)
    return level.stays or level.held


def _emptied(directory: int, keep: Keep | None) -> _Level:
    fd = os.dup(directory)
    try:
        levels = [_enter(fd, b"", stays=False)]
        while True:
            level = levels[-1]
            if level.names:
                below = _take(fd, level, keep)
                if below is not None:
                    os.close(fd)
                    fd, kept = below
                    levels.append(_enter(fd, kept.name, stays=kept.stays))
                continue
            levels.pop()
            if not levels:
                return level
            up = _leave(fd, level, levels[-1])
            os.close(fd)
            fd = up
    finally:
        os.close(fd)


@define
class _Below:
    name: bytes
    stays: bool


def _take(fd: int, level: _Level, keep: Keep | None) -> tuple[int, _Below] | None:
    """Remove the next name of a level; return the directory to go down into, if it is one."""
    name = level.names.pop()
    fate = Fate.GOES if keep is None else keep(level.identity, name)
    stays = fate is not Fate.GOES
    if stays:
        level.stays = True
    if fate is Fate.UNTOUCHED:
        return None
    if not stays:
        try:
            os.unlink(name, dir_fd=fd)
        except IsADirectoryError:
            pass
        else:
            level.changed = True
            return None
    try:
        return os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=fd), _Below(name, stays)
    except OSError as error:
        if stays and error.errno in (errno.ENOTDIR, errno.ELOOP):
            return None
        raise


def _enter(fd: int, name: bytes, *, stays: bool) -> _Level:
    status = os.fstat(fd)
    names = [os.fsencode(entry) for entry in os.listdir(fd)]
    return _Level(name, (status.st_dev, status.st_ino), (status.st_atime_ns, status.st_mtime_ns), names, stays)


def _leave(fd: int, level: _Level, above: _Level) -> int:
    if level.stays and level.changed:
        os.utime(fd, ns=level.times)
    # Going up by ".." keeps one descriptor open however deep the tree is; nobody else moves directories in the root.
    up = os.open("..", DIRECTORY, dir_fd=fd)
    try:
        status = os.fstat(up)
        if (status.st_dev, status.st_ino) != above.identity:
            raise ImageError("a directory was moved by somebody else while it was removed")
        if level.stays:
            above.stays = True
        elif level.held or not _rmdir(level.name, up):
            _make_anew(fd)
            above.held = True
        else:
            above.changed = True
    except BaseException:
        os.close(up)
        raise
    return up


def _rmdir(name: bytes, directory: int) -> bool:
    """Remove an empty directory; return False for a mount point, which cannot be removed."""
    try:
        os.rmdir(name, dir_fd=directory)
    except OSError as error:
        if error.errno == errno.EBUSY:
            return False
        raise
    return True


def _make_anew(directory: int) -> None:
    """Reset a directory that should be gone to the metadata of one that is only implied."""
    os.fchown(directory, 0, 0)
    os.fchmod(directory, IMPLIED_MODE)
    clear_xattrs(directory)
