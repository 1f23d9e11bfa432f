"""Execute a program that can start no other one: ``python alone.py PROGRAM [ARGUMENT ...]``.

A filter of system calls (seccomp(2)) refuses new processes and lets new threads through. It needs no privilege, and what is
executed keeps it. This file runs by itself, with the standard library alone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Iterator

_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
_ALLOW = 0x7FFF0000
_REFUSE = 0x00050000
"""Refuse with an error, whose number is in the lower 16 bits."""
_LOAD = 0x20
_IF_EQUAL = 0x15
_IF_SET = 0x45
_RETURN = 0x06
_NUMBER_AT = 0
_FLAGS_AT = 16
"""Of the first argument, in struct seccomp_data of a little-endian machine."""
_CLONE_THREAD = 0x00010000
_CLONE3 = 435
_CLONE_AND_FORKS = {"x86_64": (56, 57, 58), "aarch64": (220,), "riscv64": (220,)}
"""The numbers of clone(2), and of fork(2) and vfork(2) where they are system calls."""


def may_start_nothing() -> None:
    """Refuse this process, and what it executes, every further process.

    :raises OSError: when the kernel, or this file, knows no such filter for the machine.
    """
    numbers = _CLONE_AND_FORKS.get(platform.machine())
    if numbers is None:
        raise OSError(errno.ENOSYS, f"no filter of system calls is known for {platform.machine()}")
    code = b"".join(_filter(*numbers))
    instructions = ctypes.create_string_buffer(code, len(code))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(code) // 8, ctypes.addressof(instructions)))
    libc = ctypes.CDLL(None, use_errno=True)
    for option, *values in (
        (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(program), 0, 0),
    ):
        if libc.prctl(option, *map(ctypes.c_ulong, values)) != 0:
            raise OSError(ctypes.get_errno(), f"prctl: {os.strerror(ctypes.get_errno())}")


def _filter(clone: int, *forks: int) -> Iterator[bytes]:
    """Yield the instructions of the filter (struct sock_filter): operation, steps when true, steps when false, value."""
    yield _instruction(_LOAD, 0, 0, _NUMBER_AT)
    for number in forks:
        yield _instruction(_IF_EQUAL, 0, 1, number)
        yield _instruction(_RETURN, 0, 0, _REFUSE | errno.EAGAIN)
    yield _instruction(_IF_EQUAL, 0, 1, _CLONE3)
    yield _instruction(_RETURN, 0, 0, _REFUSE | errno.ENOSYS)  # its flags are in memory, and libc tries clone(2) next
    yield _instruction(_IF_EQUAL, 0, 3, clone)
    yield _instruction(_LOAD, 0, 0, _FLAGS_AT)
    yield _instruction(_IF_SET, 1, 0, _CLONE_THREAD)
    yield _instruction(_RETURN, 0, 0, _REFUSE | errno.EAGAIN)
    yield _instruction(_RETURN, 0, 0, _ALLOW)


def _instruction(operation: int, true: int, false: int, value: int) -> bytes:
    return struct.pack("@HBBI", operation, true, false, value)


def main() -> None:
    """Execute the program, or end with 126 and the reason."""
    try:
        may_start_nothing()
        os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606  # the purpose of this file
    except OSError as error:
        sys.stderr.write(f"{sys.argv[1]} was not run: {error.strerror}\n")
        sys.exit(126)


if __name__ == "__main__":
    main()
