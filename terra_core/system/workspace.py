"""Temporary directories for large work, each removed after a block, or by the next one when its process was killed."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from terra_core.errors import TerraError, error_of_machine
from terra_core.system.locks import try_lock
from terra_core.system.undo import Undo

_ROOMY = "/var/tmp"  # noqa: S108  # disks and images are too large for a /tmp that may be in memory; names in it are made by mkdtemp

IMAGE_PREFIX = "terra-image-"
"""The prefix of directories for images."""
_YOUNG_SECONDS = 60


def roomy() -> Path:
    """Return the directory for large temporary files: TMPDIR if the user has set it, or else /var/tmp.

    :raises TerraError: when there is no such directory, or it is another user's.
    """
    place = Path(os.environ.get("TMPDIR") or _ROOMY).absolute()
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise _unfit(place, "is no directory" if not place.is_dir() else "cannot be written to")
    return place


def _unfit(place: Path, reason: str) -> TerraError:
    return TerraError(f"{place}, where large temporary files go, {reason}", hint="name one that has room, by TMPDIR")


def discard(directory: Path) -> None:
    """Remove a directory as far as that goes."""
    shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def workspace(
    prefix: str, *, place: Path | None = None, grace: float = 0, remove: Callable[[Path], None] = discard
) -> Iterator[Path]:
    """Yield an empty directory for the time of a block; first remove those of this user's processes that were killed.

    :param prefix: what the names of such directories begin with.
    :param place: where they are made, best on the disk that their content goes to; :func:`roomy` when left out.
    :param grace: seconds for which a directory that nobody holds stays: its maker may be about to lock it.
    :param remove: removes one, whatever is mounted in it.
    :raises TerraError: when none can be made.
    """
    where = place or roomy()
    for left in where.glob(f"{glob.escape(prefix)}*"):
        with _held(left, grace) as ours:
            if ours:
                remove(left)
    try:
        work = Path(tempfile.mkdtemp(prefix=prefix, dir=where))
    except OSError as error:
        if place is not None:
            raise error_of_machine(error) from error
        raise _unfit(where, f"takes no new directory: {error.strerror}") from error
    with _held(work, 0), Undo() as undo:
        undo.callback(remove, work)
        yield work


def remove_abandoned(place: Path, grace: float, remove: Callable[[Path], None] = discard) -> list[Path]:
    """Remove the directories for work below ``place`` that nobody holds any more, see :func:`workspace`.

    :param grace: seconds for which a directory that nobody holds stays.
    :param remove: removes one, whatever is mounted in it.
    :returns: those that were removed.
    """
    removed = []
    for left in sorted(place.glob("*")):
        with _held(left, grace) as ours:
            if ours:
                remove(left)
                removed += [] if left.exists() else [left]
    return removed


def image_workspace() -> AbstractContextManager[Path]:
    """Room for an image in the making, or on its way; see :func:`workspace`."""
    return workspace(IMAGE_PREFIX, grace=_YOUNG_SECONDS)


def in_use(directory: Path) -> bool:
    """Return whether the process that made such a directory, and has locked it, still works in it.

    :param directory: one that was locked already: a maker that is about to lock it counts as gone.
    """
    with _held(directory, 0) as ours:
        return not ours and directory.exists()


@contextmanager
def _held(directory: Path, grace: float) -> Iterator[bool]:
    """Lock a directory for the time of a block; give whether that was possible."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        status = os.fstat(descriptor)
        yield status.st_uid == os.geteuid() and time.time() - status.st_ctime >= grace and try_lock(descriptor)
    finally:
        os.close(descriptor)
