"""Mounts that nobody else sees, and that end with the process that made them, however it ends."""

from __future__ import annotations

import ctypes
import os

from terra_core.errors import TerraError
from terra_core.system.process import run

_CLONE_NEWNS = 0x00020000


def keep_mounts_private() -> None:
    """Give this process, and the programs that it starts, a mount namespace of its own (mount_namespaces(7)).

    What it mounts is gone when the last of them has ended, also by kill -9.

    :raises TerraError: when the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS) != 0:
        raise TerraError(f"this process gets no mounts of its own: {os.strerror(ctypes.get_errno())}", hint="run it as root")
    run(["mount", "--make-rprivate", "/"])
