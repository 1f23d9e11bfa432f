"""Locks between processes (flock(2)): held by an open file, and released when the process ends, also by kill -9.

Two descriptors that were opened separately exclude each other within one process, too; one that was made by :func:`os.dup`
holds the same lock.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from terra_core.system.waiting import wait_until


def try_lock(descriptor: int) -> bool:
    """Lock an open file or directory until it is closed; return False when somebody else has locked it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # noqa: TID251  # here it is
    except BlockingIOError:
        return False
    return True


def wait_for_lock(descriptor: int, *, seconds: float, what: str, waiting: Callable[[], object] | None = None) -> None:
    """Lock an open file or directory until it is closed, as soon as nobody else has locked it.

    :param seconds: how long to wait, in seconds; ``math.inf`` for as long as it takes.
    :param what: what is waited for, such as ``"another build to end"``.
    :param waiting: called several times a second while it waits; what it raises ends the wait.
    :raises WaitedInVain: when it took too long.
    """

    def locked() -> bool:
        if try_lock(descriptor):
            return True
        if waiting is not None:
            waiting()
        return False

    wait_until(locked, seconds=seconds, what=what)


def unlock(descriptor: int) -> None:
    """Release a lock before its file is closed."""
    fcntl.flock(descriptor, fcntl.LOCK_UN)  # noqa: TID251


@contextmanager
def locked(path: Path, *, seconds: float, what: str = "", waiting: Callable[[], object] | None = None) -> Iterator[None]:
    """Hold the lock of a file, which is made where it is missing and stays, for the time of a block.

    :param path: the file; its directory has to be there.
    :param seconds: how long to wait for whoever holds it, as for :func:`wait_for_lock`, which has ``waiting``, too.
    :param what: what is waited for; the lock itself when left out.
    :raises OSError: when the file cannot be opened.
    :raises WaitedInVain: when it took too long.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        wait_for_lock(descriptor, seconds=seconds, what=what or f"the lock {path}", waiting=waiting)
        yield
    finally:
        os.close(descriptor)
