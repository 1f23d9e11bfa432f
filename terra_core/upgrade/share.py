"""Letting equal files of two roots share their blocks (ioctl_fideduperange(2))."""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from terra_core.versions.manifest import entries

_FIDEDUPERANGE = 0xC0189436
_RANGE = struct.Struct("=QQHHIqQQiI")
_AT_ONCE = 16 << 20
"""What a filesystem compares in one call at most, in bytes: ioctl_fideduperange(2)."""
_LEAST = 4096
"""Shorter files may lie among the metadata, where nothing is shared."""
_OPEN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOATIME


def share(new: Path, former: Path, *, since: int, left_out: str) -> int:
    """Let files of a root share the blocks of files that another one has at the same path; the kernel compares their content.

    A file system that cannot share blocks is no error.

    :param new: the root; nobody else writes to it.
    :param former: the other one, in the same file system.
    :param since: only files that were changed after this time are looked at, in nanoseconds of the clock.
    :param left_out: as for :func:`terra_core.versions.manifest.entries`.
    :returns: how many bytes are shared.
    """
    shared = 0
    for path, entry in entries(new, left_out=left_out):
        if entry.kind == "file" and entry.size >= _LEAST and entry.mark[2] >= since:
            try:
                with _opened(former / path) as source, _opened(new / path) as target:
                    if _is_file(source, entry.size):
                        shared += _share(source, target, entry.size)
            except OSError:
                continue
    return shared


def _share(source: int, target: int, size: int) -> int:
    done = 0
    while done < size:
        asked = _RANGE.pack(done, min(_AT_ONCE, size - done), 1, 0, 0, target, done, 0, 0, 0)
        *_, count, status, _ = _RANGE.unpack(fcntl.ioctl(source, _FIDEDUPERANGE, asked))
        if status != 0 or count == 0:
            break
        done += count
    return done


def _is_file(descriptor: int, size: int) -> bool:
    status = os.fstat(descriptor)
    return stat.S_ISREG(status.st_mode) and status.st_size == size


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | _OPEN)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
