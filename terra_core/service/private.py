"""Directories and files that only their owner may read."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from terra_core.errors import TerraError

_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def make_private(path: Path) -> None:
    """Make a directory that only its owner may enter; take the rights of others from one that exists.

    :raises TerraError: when it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        _close(path)
    except OSError as error:
        raise TerraError(f"{path}: cannot be made: {error.strerror}") from error


def keep_private(path: Path) -> None:
    """Make an empty file that only its owner may read, or take the rights of others from one that exists; pass errors over."""
    with suppress(OSError):
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600))
        _close(path)


def may_be_read_by_others(path: Path) -> bool:
    """Return whether anybody but the owner may read or change a file."""
    return bool(stat.S_IMODE(path.stat().st_mode) & _OTHERS)


def _close(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & _OTHERS:
        path.chmod(mode & ~_OTHERS)
