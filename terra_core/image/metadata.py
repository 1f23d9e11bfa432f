"""Owners, then modes, then extended attributes, then times: each step can undo a later one's work, never an earlier one's."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from terra_core.oci.faults import ImageError, shown
from terra_core.oci.leftout import LeftOut
from terra_core.oci.tar import Entry, Kind

_HOST_OWN = (b"security.selinux", b"security.apparmor", b"security.SMACK64")
"""Labels of the security policy of this host."""
_AN_IMAGE_HAS = (b"user.", b"trusted.", b"security.", b"system.posix_acl_")
_OVERLAY = (b"trusted.overlay.", b"user.overlay.")
_ACCESS_LISTS = b"system.posix_acl_"
_DEFAULT_LIST = b"system.posix_acl_default"
_MOST_NAME_BYTES = 255


def set_metadata(fd: int, entry: Entry, left_out: LeftOut) -> None:
    """Set the metadata of an entry on an open file or directory, except its times.

    :param fd: its descriptor.
    :param left_out: notes the extended attributes that are left out.
    :raises ImageError: when the file system does not take an extended attribute.
    """
    os.fchown(fd, entry.uid, entry.gid)
    os.fchmod(fd, entry.mode)
    for name, value in _kept(entry, left_out):
        _set_xattr(fd, name, value)


def set_metadata_at(directory: int, name: bytes, entry: Entry, left_out: LeftOut, *, mode: bool) -> None:
    """Set the metadata of an entry on what cannot be opened, including its times.

    :param directory: the descriptor of the directory that holds it.
    :param name: a name that was made just now.
    :param left_out: notes the extended attributes that are left out.
    :param mode: whether to set the mode; a symbolic link has none.
    :raises ImageError: when the file system does not take an extended attribute.
    """
    os.chown(name, entry.uid, entry.gid, dir_fd=directory, follow_symlinks=False)
    if mode:
        os.chmod(name, entry.mode, dir_fd=directory)
    for key, value in _kept(entry, left_out):
        # No call takes a directory's descriptor and a name for attributes; the link in /proc leads to that very directory.
        _set_xattr(b"/proc/self/fd/%d/%s" % (directory, name), key, value)
    os.utime(name, ns=(entry.atime, entry.mtime), dir_fd=directory, follow_symlinks=False)


def clear_xattrs(fd: int) -> None:
    """Take the extended attributes from a directory that a layer describes anew.

    The label of the host's own policy stays, and so do a file system's settings, such as whether it is compressed.
    """
    for name in os.listxattr(fd):
        raw = os.fsencode(name)
        if raw.startswith(_AN_IMAGE_HAS) and not raw.startswith(_HOST_OWN):
            os.removexattr(fd, raw)


def _kept(entry: Entry, left_out: LeftOut) -> Iterator[tuple[bytes, bytes]]:
    """Yield the extended attributes that a file of this kind can and may have here; it is harmless to leave the others out."""
    for name, value in entry.xattrs:
        if why := _no_place_for(name, entry.kind):
            left_out.note(f"the extended attribute {shown(name)}", why, entry.name)
        else:
            yield name, value


def _no_place_for(name: bytes, kind: Kind) -> str:
    """Return why a file cannot or must not have an extended attribute of this name: :manpage:`xattr(7)`."""
    if not name.startswith(_AN_IMAGE_HAS):
        return "Linux has no attributes of that class"
    if len(name) > _MOST_NAME_BYTES:
        return "Linux has no names of that length"
    if name.startswith(_HOST_OWN):
        return "it belongs to the policy of the host that the image came from"
    if name.startswith(_OVERLAY):
        return "an overlay file system would take it for its own"
    if kind not in (Kind.FILE, Kind.DIRECTORY) and name.startswith(b"user."):
        return f"Linux keeps none of that class on a {kind.value}"
    if (kind is Kind.SYMLINK and name.startswith(_ACCESS_LISTS)) or (kind is not Kind.DIRECTORY and name == _DEFAULT_LIST):
        return f"Linux keeps no such list on a {kind.value}"
    return ""


def _set_xattr(place: int | bytes, name: bytes, value: bytes) -> None:
    try:
        os.setxattr(place, name, value, follow_symlinks=isinstance(place, int))
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            message = f"the file system does not take the extended attribute {shown(name)}"
            raise ImageError(message, hint="use a file system that does, such as ext4") from error
        raise ImageError(f"extended attribute {shown(name)}: {error.strerror}") from error
