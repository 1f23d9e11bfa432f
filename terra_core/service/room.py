"""Telling a full disk from every other reason why a database cannot be written."""

from __future__ import annotations

import errno

from terra_core.errors import TerraError

_NO_ROOM = {10, 13, 14}
"""SQLITE_IOERR, SQLITE_FULL and SQLITE_CANTOPEN: what SQLite says, file by file, when there is no room on the disk."""


class DatabaseFull(TerraError):  # noqa: N818  # a state of the disk
    """The database cannot be written, most likely because its disk is full."""


def is_full(error: BaseException | None) -> bool:
    """Return whether an error of the machine or of SQLite says that there is no room."""
    no_room = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return no_room or getattr(error, "sqlite_errorcode", 0) & 0xFF in _NO_ROOM
