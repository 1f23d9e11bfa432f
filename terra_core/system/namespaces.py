"""Network namespaces, for one thread at a time."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CLONE_NEWNET = 0x40000000


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
