"""Namespaces (namespaces(7)), for one thread at a time: another network, and mounts that nobody else sees."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from terra_core.errors import TerraError
from terra_core.system.deadline import watch_deadlines
from terra_core.system.mounts import mount_points
from terra_core.system.undo import Undo

_CLONE_FS = 0x00000200
_CLONE_NEWNS = 0x00020000
_CLONE_NEWNET = 0x40000000
_MS_REC = 0x4000
_MS_PRIVATE = 0x40000
_MS_SLAVE = 0x80000


def keep_mounts_private() -> None:
    """Move this process, and the programs that it starts, into a mount namespace of its own for good (mount_namespaces(7)).

    Their mounts are gone when the last of them has ended, also by kill -9. Later mounts of others are not visible.

    :raises TerraError: when the kernel refuses.
    """
    _unshare_mounts()
    _change(Path("/"), _MS_PRIVATE)


@contextmanager
def private_mounts() -> Iterator[None]:
    """Let nobody else see what the calling thread, and the programs and threads that it starts, mount (mount_namespaces(7)).

    A new namespace, as every container has one, would otherwise copy these mounts, and hold them. What others mount and unmount
    meanwhile is visible here. What is mounted here is gone when the last process in it has ended, also by kill -9.

    :raises TerraError: when the kernel refuses.
    """
    watch_deadlines()  # whose thread would stay in the new namespace, and hold what was mounted there
    with Undo() as undo:
        former = _opened(undo, f"/proc/self/task/{threading.get_native_id()}/ns/mnt")
        root, here = _opened(undo, "/", os.O_PATH), _opened(undo, ".", os.O_PATH)
        _unshare_mounts()
        undo.callback(_return_to, former, root, here)
        points = [point.path for point in mount_points()]
        # In a chroot(2) environment, the root need not be a mount point.
        for point in [Path("/")] if Path("/") in points else points:
            _change(point, _MS_SLAVE)  # mounts propagate from the original namespace to this one, and not back
        yield


def _unshare_mounts() -> None:
    try:
        _unshare(_CLONE_NEWNS)
    except OSError as error:
        raise TerraError(f"this process gets no mounts of its own: {error.strerror}", hint="run it as root") from error


def _change(point: Path, propagation: int) -> None:
    """Change how mounts below a mount point propagate (mount(2))."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(None, os.fsencode(point), None, _MS_REC | propagation, None) != 0:
        raise TerraError(f"{point}: what is mounted here cannot be kept from others: {os.strerror(ctypes.get_errno())}")


def _opened(undo: Undo, path: str, flags: int = os.O_RDONLY) -> int:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    undo.callback(os.close, descriptor)
    return descriptor


def _return_to(namespace: int, root: int, here: int) -> None:
    """Enter a mount namespace again, with the root and working directory that this thread had in it: setns(2) resets both."""
    _unshare(_CLONE_FS)  # a thread that shares these with one that it has started is refused
    _enter(namespace, _CLONE_NEWNS)
    if not os.path.samestat(Path("/").stat(), os.fstat(root)):
        os.fchdir(root)
        os.chroot(".")
    os.fchdir(here)


@contextmanager
def in_network(namespace: Path) -> Iterator[None]:
    """Put the calling thread into a network namespace (setns(2)): sockets, programs and threads that it makes are there.

    A socket stays in the namespace where it was made, also after this ends. Other threads are not moved.

    :param namespace: its file, such as ``/run/netns/NAME`` or ``/proc/PID/ns/net``.
    :raises OSError: when there is no such namespace, or this process may not enter it.
    """
    with Path(f"/proc/self/task/{threading.get_native_id()}/ns/net").open("rb") as former:
        with namespace.open("rb") as file:
            _enter(file.fileno(), _CLONE_NEWNET)
        with Undo() as undo:
            undo.callback(_enter, former.fileno(), _CLONE_NEWNET)
            yield


def _enter(descriptor: int, kind: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)  # Python has it from 3.12 on
    if libc.setns(descriptor, kind) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"setns: {os.strerror(number)}")


def _unshare(what: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)  # as above
    if libc.unshare(what) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
