"""Copies of a SQLite database, made while it is open."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from terra_core.system.undo import Undo


def copy_database(source: Path, copy: Path) -> None:
    """Copy a SQLite database as it was last committed; the copy is complete or not there, also after a crash.

    A former copy is replaced. Only the owner may read the copy.

    :raises OSError: when it cannot be written.
    :raises sqlite3.Error: when the database cannot be read, or the copy not be written.
    """
    staged = copy.with_name(f"{copy.name}.new")
    staged.unlink(missing_ok=True)  # of a daemon that was killed
    with Undo() as undo:
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        undo.callback(staged.unlink)
        try:
            uri = f"{source.absolute().as_uri()}?mode=ro"
            with closing(sqlite3.connect(uri, uri=True)) as original, closing(sqlite3.connect(staged)) as target:
                target.executescript("pragma journal_mode = off; pragma synchronous = off")  # it is renamed when it is whole
                original.backup(target)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        staged.replace(copy)
        undo.pop_all()
    _sync_directory(copy.parent)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
