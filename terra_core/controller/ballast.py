"""Room that is kept on the disk of the database, so that machines can be deleted when it is full."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_SIZE = 2 * 1024 * 1024
_SPARE = 4 * _SIZE


class Ballast:
    """A file whose only use is that it can be removed.

    :param path: its place, beside the database; ``None`` for a database that is not on a disk of this machine.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def take(self) -> None:
        """Make the file, unless the disk is nearly full already."""
        if self._path is None or self._path.exists():
            return
        with suppress(OSError):
            found = os.statvfs(self._path.parent)
            if found.f_bavail * found.f_frsize < _SPARE:
                return
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, _SIZE)
            except OSError:
                self._path.unlink()
            finally:
                os.close(descriptor)

    def drop(self) -> bool:
        """Remove the file to make room; return whether it was there."""
        if self._path is None:
            return False
        try:
            self._path.unlink()
        except OSError:
            return False
        return True
