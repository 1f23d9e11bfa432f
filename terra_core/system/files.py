"""Files that are complete or not there, whatever happens while they are written: an error, kill -9, a loss of power.

The content goes to a file beside it, is flushed to the disk, and takes the place of the former file by rename(2), which is
flushed as well. The file beside it has a fixed name and is locked while it is written: the next writer waits for a living one,
and removes what a killed one left.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from terra_core.system.locks import try_lock, wait_for_lock
from terra_core.system.undo import Undo

_WRITER_SECONDS = 3600.0
_SUFFIX = ".new"
_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


def write_file(path: Path, content: bytes, *, mode: int | None = None, new: bool = False) -> None:
    """Write a file that is complete or not there; the parameters and errors are those of :func:`replacing`."""
    with replacing(path, mode=mode, new=new) as file:
        file.write(content)


@contextmanager
def replacing(path: Path, *, mode: int | None = None, new: bool = False) -> Iterator[BinaryIO]:
    """Yield a file to write to, which takes the place of ``path`` when the block ends without an exception.

    A symbolic link at ``path`` is replaced, not followed.

    :param mode: its permission bits, whatever the umask; as for any new file when left out.
    :param new: leave a file that is at ``path`` by then, and raise FileExistsError.
    :raises OSError: when it cannot be written; nothing is left of it then.
    """
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with replacing_in(directory, path.name, mode=mode, new=new) as file:
            yield file
        os.fsync(directory)
    except OSError as error:
        if error.filename in (path.name, _staged(path.name)):
            error.filename = str(path)
        raise
    finally:
        os.close(directory)


@contextmanager
def replacing_in(directory: int, name: str, *, mode: int | None = None, new: bool = False) -> Iterator[BinaryIO]:
    """Yield a file to write to in an open directory, as :func:`replacing` does; its new name is not flushed yet."""
    staged = _staged(name)
    with Undo() as opened:
        descriptor = _begin(directory, staged, 0o666 if mode is None else mode & 0o600)
        opened.callback(os.close, descriptor)  # last, since it holds the lock
        with Undo() as undo:
            undo.callback(_remove, directory, staged)
            with Undo() as writing:
                yield writing.enter_context(os.fdopen(os.dup(descriptor), "wb"))
            if mode is not None:
                os.fchmod(descriptor, mode)
            os.fsync(descriptor)
            if new:
                os.link(staged, name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
            else:
                os.replace(staged, name, src_dir_fd=directory, dst_dir_fd=directory)
                undo.pop_all()


@contextmanager
def output_file(path: Path) -> Iterator[BinaryIO]:
    """Yield a file to write to that a user has named: as :func:`replacing` does, at the end of any links.

    A device or a named pipe is written to as it is.

    :raises OSError: when it cannot be written.
    """
    path = resolved(path)
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    with replacing(path) as file:
        yield file


def resolved(path: Path) -> Path:
    """Return the absolute path of a file at the end of all links; it need not be there.

    :raises OSError: for links that lead to each other, of which :meth:`pathlib.Path.resolve` says something else before
        Python 3.13.
    """
    try:
        return path.resolve()
    except RuntimeError:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path)) from None


def remove_unfinished(path: Path) -> None:
    """Remove what a killed process left of a new file for ``path``; does nothing to the file itself.

    :raises OSError: when it cannot be removed.
    """
    path.with_name(_staged(path.name)).unlink(missing_ok=True)


def sweep_unfinished(directory: Path) -> list[Path]:
    """Remove what killed processes left of new files in a directory and below it; links and mounts are not followed.

    :returns: what was removed.
    """
    removed = []
    for place, directories, names in os.walk(directory):
        directories[:] = [name for name in directories if not os.path.ismount(Path(place, name))]
        for path in (Path(place, name) for name in names if name.startswith(".") and name.endswith(_SUFFIX)):
            with suppress(OSError):
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
                try:
                    if try_lock(descriptor):
                        path.unlink()
                        removed.append(path)
                finally:
                    os.close(descriptor)
    return removed


def sync_directory(path: Path) -> None:
    """Let the names in a directory survive a loss of power (fsync(2))."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _staged(name: str) -> str:
    return f".{name}{_SUFFIX}"


def _begin(directory: int, staged: str, mode: int) -> int:
    """Return a new file, open and locked."""
    while True:
        try:
            descriptor = os.open(staged, _OPEN | os.O_CREAT | os.O_EXCL, mode, dir_fd=directory)
        except FileExistsError:
            _clear(directory, staged)
            continue
        if try_lock(descriptor) and _is_at(descriptor, directory, staged):
            return descriptor
        os.close(descriptor)  # another writer took it for the rest of a killed one


def _clear(directory: int, staged: str) -> None:
    """Wait until nobody writes to the file, and remove it if it is still there."""
    try:
        descriptor = os.open(staged, _OPEN | os.O_NONBLOCK, dir_fd=directory)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO):  # nothing here writes a link or a socket
            raise
        _remove(directory, staged)
        return
    try:
        wait_for_lock(descriptor, seconds=_WRITER_SECONDS, what=f"another process to write {staged}")
        if _is_at(descriptor, directory, staged):
            _remove(directory, staged)
    finally:
        os.close(descriptor)


def _is_at(descriptor: int, directory: int, name: str) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), os.stat(name, dir_fd=directory, follow_symlinks=False))
    return False


def _remove(directory: int, name: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)
