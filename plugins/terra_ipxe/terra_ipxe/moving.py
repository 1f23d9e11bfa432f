"""The way of boot files out of the place where earlier versions had them; nothing else has the kernels of machines."""

from __future__ import annotations

import errno
import shutil
from contextlib import suppress
from pathlib import Path

from terra_core.errors import TerraError, words_of
from terra_core.system.files import sync_directory, write_file
from terra_core.system.process import run
from terra_core.system.progress import Event, Report
from terra_ipxe.layout import BootPaths
from terra_tftp.files import make_directory

_SECONDS = 3600


def move_in(paths: BootPaths, report: Report) -> None:
    """Move boot files and their secret from where earlier versions had them, unless others are there already.

    It may be killed at any time, and goes on when it is called again.

    :raises TerraError: when they cannot be moved; they are all still there then.
    """
    if not paths.former.is_dir():
        return
    try:
        if paths.former_key.exists():  # first: from now on it goes where the files go
            write_file(paths.former / paths.key.name, paths.former_key.read_bytes(), mode=0o600)
            paths.former_key.unlink()
        if not paths.place.exists():
            report(Event("boot", f"moving {paths.former} to {paths.place}"))
            make_directory(paths.place.parent)
            _move(paths.former, paths.place, paths.key.name)
        elif _is_same(paths.former / paths.key.name, paths.key):  # they were copied, and not removed yet
            _remove(paths.former, paths.key.name)
    except OSError as error:
        raise TerraError(
            f"{paths.former}: cannot be moved to {paths.place}: {words_of(error)}",
            hint="make room there, or move it yourself: machines boot from it",
        ) from error


def _move(former: Path, place: Path, key: str) -> None:
    try:
        former.rename(place)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EBUSY):  # another file system, or the place where one is mounted
            raise
    else:
        sync_directory(place.parent)
        return
    staged = place.with_name(f".{place.name}.moving")
    try:
        if staged.exists():
            shutil.rmtree(staged)
        # It keeps hard links, by which the kernel of an image is there once.
        run(["cp", "--archive", "--no-target-directory", "--", former, staged], timeout=_SECONDS)
        run(["sync", "--file-system", staged], timeout=_SECONDS)
        staged.rename(place)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    sync_directory(place.parent)
    _remove(former, key)


def _remove(former: Path, key: str) -> None:
    """Remove what was copied; the secret, which says so, goes last. A place where a file system is mounted stays, empty."""
    for path in sorted(former.iterdir(), key=lambda one: one.name == key):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    with suppress(OSError):
        former.rmdir()


def _is_same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes()
