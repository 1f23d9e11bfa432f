"""``openat2(2)``: paths that the kernel itself keeps below a directory."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from enum import IntFlag

from terra_core.errors import TerraError

_OPENAT2 = 437
_ATTEMPTS = 100

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
"""How directories are opened."""


class Resolve(IntFlag):
    """How a path is resolved; see ``openat2(2)``."""

    NO_MAGICLINKS = 0x02
    NO_SYMLINKS = 0x04
    BENEATH = 0x08
    IN_ROOT = 0x10


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


class NotRegularError(OSError):
    """Something else than a regular file stands where one is expected; it was looked at, and not opened."""


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


def open_regular(directory: int, path: bytes, resolve: Resolve) -> int:
    """Open an existing regular file below a directory for reading.

    It is looked at before it is opened: opening a device makes its driver do something (a loop device comes to be, a watchdog
    starts), and opening a FIFO waits for a writer.

    :param directory: the descriptor of the directory that bounds the path.
    :param path: relative to it.
    :param resolve: what the path may hold.
    :returns: a descriptor, for the caller to close.
    :raises NotRegularError: when something else stands there.
    :raises OSError: as ``openat2(2)`` says.
    """
    seen = open_below(directory, path, os.O_PATH, resolve)
    try:
        if not stat.S_ISREG(os.fstat(seen).st_mode):
            raise NotRegularError(errno.EINVAL, "no regular file")
        return os.open(f"/proc/self/fd/{seen}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(seen)
