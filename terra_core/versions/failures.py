"""Why versions of a machine's system were given up, kept beside the versions.

A version may be given up because it has filled the disk, so the room for the reason is taken before it is tried: blocks that
are allocated already can be written to on a full disk (fallocate(2)).
"""

from __future__ import annotations

import errno
import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from attrs import frozen

from terra_core.config.node import OWN
from terra_core.errors import TerraError, words_of
from terra_core.system.files import sync_directory, write_file
from terra_core.system.reading import read_regular

_PLACE = f"{OWN}/failed"
_LIMIT = 64 * 1024
_LONGEST = 2000
"""What is kept of a reason, in characters."""
_ROOM = f"{_PLACE}/.room"
_ROOM_BYTES = 16 << 10
"""More than a reason takes, each character of which JSON may write as six."""


@frozen(kw_only=True)
class Failure:
    """Why a version was given up.

    :param reason: in words.
    :param time: when, as RFC 3339 has it; empty when that cannot be read.
    """

    reason: str
    time: str = ""


def failures(top: Path) -> dict[str, Failure]:
    """Return why versions were given up, by their names.

    :param top: the directory of all roots.
    """
    directory = top / _PLACE
    names = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []
    return {name: _failure(directory / name) for name in names if not name.startswith(".")}


def make_room(top: Path) -> None:
    """Take the room that the next reason needs, on a disk that may be full by then; a disk that is full already is no error.

    :param top: the directory of all roots.
    """
    place = top / _ROOM
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, _ROOM_BYTES)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def note_failure(top: Path, version: str, reason: str) -> None:
    """Write down why a version was given up; it is on the disk when this returns.

    :raises TerraError: when it cannot be written.
    """
    text = {"reason": reason.strip()[:_LONGEST], "time": datetime.now(UTC).isoformat(timespec="seconds")}
    directory, content = top / _PLACE, json.dumps(text).encode()
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            write_file(directory / version, content, mode=0o600)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not (top / _ROOM).exists():
                raise
            _use_room(top, directory / version, content)
        for path in (directory, top / OWN, top):
            sync_directory(path)
    except OSError as error:
        raise TerraError(f"{directory / version}: cannot be written: {error.strerror}") from error


def forget_failure(top: Path, version: str) -> None:
    """Remove what is written down of a version, if there is anything."""
    try:
        (top / _PLACE / version).unlink(missing_ok=True)
    except OSError as error:
        raise TerraError(f"{top / _PLACE / version}: cannot be removed: {error.strerror}") from error


def _use_room(top: Path, target: Path, content: bytes) -> None:
    """Write a file where the disk has no room but what :func:`make_room` took; spaces fill the rest of it."""
    descriptor = os.open(top / _ROOM, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.pwrite(descriptor, content.ljust(_ROOM_BYTES), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    (top / _ROOM).rename(target)


def _failure(path: Path) -> Failure:
    try:
        raw = json.loads(read_regular(path, _LIMIT, follow=False))
        return Failure(reason=str(raw["reason"]), time=str(raw["time"]))
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        return Failure(reason=f"the reason cannot be read: {words_of(error)}")
