"""Owners, then modes, then extended attributes, then times: each step can undo a later one's work, never an earlier one's."""

from __future__ import annotations

import errno
import os

from terra_core.image.faults import ImageError, shown
from terra_core.image.tar import Entry

_HOST_OWN = b"security.selinux"
_AN_IMAGE_HAS = (b"user.", b"trusted.", b"security.", b"system.posix_acl_")


def set_metadata(fd: int, entry: Entry) -> None:
    """Give an open file or directory what its entry says, times aside.

    :param fd: its descriptor.
    :raises ImageError: when the file system does not take an extended attribute.
    """
    os.fchown(fd, entry.uid, entry.gid)
    os.fchmod(fd, entry.mode)
    for name, value in entry.xattrs:
        _set_xattr(fd, name, value)


def set_metadata_at(directory: int, name: bytes, entry: Entry, *, mode: bool) -> None:
    """Give what cannot be opened what its entry says, times included.

    :param directory: the descriptor of the directory that holds it.
    :param name: a name that was made just now.
    :param mode: whether to set the mode; a symbolic link has none.
    :raises ImageError: when the file system does not take an extended attribute.
    """
    os.chown(name, entry.uid, entry.gid, dir_fd=directory, follow_symlinks=False)
    if mode:
        os.chmod(name, entry.mode, dir_fd=directory)
    for key, value in entry.xattrs:
        # No call takes a directory's descriptor and a name for attributes; the link in /proc leads to that very directory.
        _set_xattr(b"/proc/self/fd/%d/%s" % (directory, name), key, value)
    os.utime(name, ns=(entry.atime, entry.mtime), dir_fd=directory, follow_symlinks=False)


def clear_xattrs(fd: int) -> None:
    """Take the extended attributes from a directory that a layer describes anew.

    The label of the host's own policy stays, and so do a file system's settings, such as ``btrfs.compression``.
    """
    for name in os.listxattr(fd):
        raw = os.fsencode(name)
        if raw.startswith(_AN_IMAGE_HAS) and raw != _HOST_OWN:
            os.removexattr(fd, raw)


def _set_xattr(place: int | bytes, name: bytes, value: bytes) -> None:
    try:
        os.setxattr(place, name, value, follow_symlinks=isinstance(place, int))
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            message = f"the file system does not take the extended attribute {shown(name)}"
            raise ImageError(message, hint="use a file system that does, such as btrfs or ext4") from error
        raise ImageError(f"extended attribute {shown(name)}: {error.strerror}") from error
