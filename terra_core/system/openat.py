"""Paths that the kernel keeps below a directory (openat2(2)), whose content is not trusted."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from enum import IntFlag
from io import BufferedReader
from pathlib import Path

from terra_core.errors import TerraError
from terra_core.system.reading import open_found

_OPENAT2 = 437
_ATTEMPTS = 100

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
"""How directories are opened."""


class Resolve(IntFlag):
    """Flags for how a path is resolved; see ``openat2(2)``."""

    NO_MAGICLINKS = 0x02
    NO_SYMLINKS = 0x04
    BENEATH = 0x08
    IN_ROOT = 0x10


WITHOUT_LINKS = Resolve.BENEATH | Resolve.NO_SYMLINKS
"""A path that goes down only, and through no symbolic link."""


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_syscall = ctypes.CDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = (ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)


def open_below(directory: int, path: bytes, flags: int, resolve: Resolve) -> int:
    """Open an existing path below a directory.

    :param directory: the descriptor of the directory that bounds the path.
    :param path: relative to it; a NUL byte in it is refused.
    :param flags: as for ``open(2)``; ``O_CLOEXEC`` is added.
    :param resolve: what the path may hold.
    :returns: a descriptor, for the caller to close.
    :raises OSError: as ``openat2(2)`` says.
    """
    if b"\0" in path:
        raise OSError(errno.EINVAL, "the path holds a NUL byte")
    how = _OpenHow(flags | os.O_CLOEXEC, 0, resolve)
    for _ in range(_ATTEMPTS):
        descriptor = int(_syscall(_OPENAT2, directory, path or b".", ctypes.byref(how), ctypes.sizeof(how)))
        if descriptor >= 0:
            return descriptor
        code = ctypes.get_errno()
        # EAGAIN: something was renamed anywhere on the machine while the kernel walked past "..".
        if code not in (errno.EAGAIN, errno.EINTR):
            break
    if code in (errno.ENOSYS, errno.EPERM):
        raise TerraError("the kernel refuses openat2, which keeps an image inside its directory", hint="use Linux 5.6+")
    raise OSError(code, os.strerror(code))


def open_directory(directory: int, path: bytes, resolve: Resolve, *, make: int | None = None) -> int:
    """Open a directory below a directory.

    :param directory: the descriptor of the directory that bounds the path.
    :param path: relative to it.
    :param resolve: what the path may hold.
    :param make: the mode of directories that are missing, which are made then; when left out, a missing one is an error.
    :returns: a descriptor, for the caller to close.
    :raises OSError: as ``openat2(2)`` and ``mkdirat(2)`` say.
    """
    try:
        return open_below(directory, path, DIRECTORY, resolve)
    except FileNotFoundError:
        above, _, name = path.rpartition(b"/")
        if make is None or not name:
            raise
    parent = open_directory(directory, above, resolve, make=make)
    made = False
    try:
        with suppress(FileExistsError):  # another process has made it just now
            os.mkdir(name, make, dir_fd=parent)
            made = True
    finally:
        os.close(parent)
    descriptor = open_below(directory, path, DIRECTORY, resolve)
    if made:
        os.fchmod(descriptor, make)  # whatever the umask is
    return descriptor


def open_regular(directory: int, path: bytes, resolve: Resolve) -> int:
    """Open an existing regular file below a directory for reading, see :func:`terra_core.system.reading.open_found`.

    :param directory: the descriptor of the directory that bounds the path.
    :param path: relative to it.
    :param resolve: what the path may hold.
    :returns: a descriptor, for the caller to close.
    :raises NotRegularError: when something else stands there.
    :raises OSError: as ``openat2(2)`` says.
    """
    found = open_below(directory, path, os.O_PATH, resolve)
    try:
        return open_found(found, os.fsdecode(path))
    finally:
        os.close(found)


@contextmanager
def directory_below(root: Path, path: str, *, make: int | None = None) -> Iterator[int]:
    """Open a directory below ``root`` for the time of a block, and give its descriptor; no link is followed below ``root``.

    :param root: a directory; the caller vouches for the path to it.
    :param path: relative to it.
    :param make: as for :func:`open_directory`.
    :raises OSError: ``ELOOP`` for a link, ``ENOTDIR`` for a file, and what else ``openat2(2)`` says; all of them name the path.
    """
    with _root(root, path) as top:
        directory = open_directory(top, os.fsencode(path), WITHOUT_LINKS, make=make)
    try:
        yield directory
    finally:
        os.close(directory)


@contextmanager
def file_below(root: Path, path: str) -> Iterator[BufferedReader]:
    """Open a regular file below ``root`` for reading, for the time of a block; no link is followed below ``root``.

    :param root: a directory; the caller vouches for the path to it.
    :param path: relative to it.
    :raises NotRegularError: when something else stands there.
    :raises OSError: as for :func:`directory_below`.
    """
    with _root(root, path) as top:
        file = os.fdopen(open_regular(top, os.fsencode(path), WITHOUT_LINKS), "rb")
    with file:
        yield file


@contextmanager
def _root(root: Path, path: str) -> Iterator[int]:
    descriptor = os.open(root, DIRECTORY)
    try:
        yield descriptor
    except OSError as error:
        error.filename = str(root / path)
        raise
    finally:
        os.close(descriptor)
