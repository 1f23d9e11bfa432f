"""Why versions of a machine's system were given up, kept beside the versions."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from attrs import frozen

from terra_core.errors import TerraError
from terra_core.system.files import sync_directory, write_file
from terra_core.system.reading import read_regular
from terra_core.versions.layers import OWN

_PLACE = f"{OWN}/failed"
_LIMIT = 64 * 1024
_LONGEST = 2000
"""What is kept of a reason, in characters."""


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


def note_failure(top: Path, version: str, reason: str) -> None:
    """Write down why a version was given up; it is on the disk when this returns.

    :raises TerraError: when it cannot be written.
    """
    text = {"reason": reason.strip()[:_LONGEST], "time": datetime.now(UTC).isoformat(timespec="seconds")}
    directory = top / _PLACE
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_file(directory / version, json.dumps(text).encode(), mode=0o600)
        for path in (top / OWN, top):
            sync_directory(path)
    except OSError as error:
        raise TerraError(f"{directory / version}: cannot be written: {error.strerror}") from error


def forget_failure(top: Path, version: str) -> None:
    """Remove what is written down of a version, if there is anything."""
    try:
        (top / _PLACE / version).unlink(missing_ok=True)
    except OSError as error:
        raise TerraError(f"{top / _PLACE / version}: cannot be removed: {error.strerror}") from error


def _failure(path: Path) -> Failure:
    try:
        raw = json.loads(read_regular(path, _LIMIT, follow=False))
        return Failure(reason=str(raw["reason"]), time=str(raw["time"]))
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        return Failure(reason=f"the reason cannot be read: {error}")
