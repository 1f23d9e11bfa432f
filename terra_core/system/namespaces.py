"""Namespaces (namespaces(7)): a network for one thread at a time, and mounts that nobody else sees."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from terra_core.errors import TerraError
from terra_core.system.process import run

_CLONE_NEWNS = 0x00020000
_CLONE_NEWNET = 0x40000000


def keep_mounts_private() -> None:
    """Give this process, and the programs that it starts, a mount namespace of its own (mount_namespaces(7)).

    What it mounts is gone when the last of them has ended, also by kill -9.

    :raises TerraError: when the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) != 0:
        raise TerraError(f"this process gets no mounts of its own: {os.strerror(ctypes.get_errno())}", hint="run it as root")
    run(["mount", "--make-rprivate", "/"])


@contextmanager
def in_network(namespace: Path) -> Iterator[None]:
    """Put the calling thread into a network namespace (setns(2)): sockets, programs and threads that it makes are there.

    A socket stays where it was made, also after this ends. Other threads are not moved.

    :param namespace: its file, such as ``/run/netns/NAME`` or ``/proc/PID/ns/net``.
    :raises OSError: when there is no such namespace, or this process may not enter it.
    """
    with Path(f"/proc/self/task/{threading.get_native_id()}/ns/net").open("rb") as former:
        with namespace.open("rb") as file:
            _enter(file.fileno())
        try:
            yield
        finally:
            _enter(former.fileno())


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)  # Python has it from 3.12 on
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")
