"""Room for whole images, as long as a block lasts."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOMY = "/var/tmp"  # noqa: S108  # an image is too large for a /tmp that may be in memory; names in it are made by tempfile
PREFIX = "terra-image-"
_YOUNG_SECONDS = 60
"""Whoever has just made a directory may not hold it yet."""


@contextmanager
def scratch() -> Iterator[Path]:
    """An empty directory that is gone afterwards; what is left of processes of this user that were killed goes first."""
    for left in Path(ROOMY).glob(f"{PREFIX}*"):
        with suppress(OSError):
            _remove_if_left(left)
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=ROOMY) as made:
        held = os.open(made, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield Path(made)
        finally:
            os.close(held)


def _remove_if_left(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(fd)
        if status.st_uid == os.geteuid() and time.time() - status.st_ctime > _YOUNG_SECONDS:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(directory)
    finally:
        os.close(fd)
