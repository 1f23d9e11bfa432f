"""Files of the boot tree: complete or not there, readable as they shall be whatever the umask, never read through a link."""

from __future__ import annotations

import errno
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from terra_core.errors import TerraError
from terra_core.system import files
from terra_core.system.openat import file_below
from terra_core.system.reading import open_regular
from terra_core.system.undo import Undo

_MODE = 0o644
_PRIVATE = 0o400
_BLOCK = 1024 * 1024
_LIMIT = 1024 * _BLOCK
"""The largest file of the boot tree: no kernel, initial RAM disk or boot loader has a gigabyte."""


def make_directory(path: Path) -> None:
    """Make a directory, and those above it that are missing, with mode 0755; one that exists gets that mode."""
    with _naming(path):
        if not path.parent.is_dir():
            make_directory(path.parent)
        path.mkdir(exist_ok=True)
        path.chmod(0o755)


def make_private_directory(path: Path) -> None:
    """Make a directory, and those above it that are missing, that only root enters; one that exists is left as it is."""
    with _naming(path):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)


def write_file(path: Path, text: str, *, mode: int = _MODE) -> bool:
    """Write ``text`` to a file atomically and flush it; return whether it held something else before.

    :param mode: its permission bits, where it is written; everybody may read it when left out.
    """
    if read_file(path) == text:
        return False
    with _naming(path):
        files.write_file(path, text.encode(), mode=mode)
    return True


def read_file(path: Path) -> str | None:
    """Return the content of a small file; ``None`` when it does not exist.

    :raises TerraError: when it is something else than a file; such a thing is not opened.
    """
    try:
        with _naming(path, "read"), open_regular(path) as file:
            return file.read().decode(errors="replace")
    except TerraError as error:
        if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            return None
        raise


def copy_file(source: BinaryIO, path: Path, *, reader: str | None = None) -> None:
    """Copy an open file to ``path``, at once and for good.

    :param reader: the only user who may read it, as :func:`give_file` does; everybody may when left out.
    """
    with _naming(path), files.replacing(path, mode=_MODE if reader is None else _PRIVATE) as file:
        while block := source.read(_BLOCK):
            file.write(block)
        if reader is not None:  # before it is there: a machine may ask for it in that moment
            _give(file.fileno(), reader)


def give_file(path: Path, reader: str) -> None:
    """Make a user the only one who reads a file, root aside. Who is not root can give nothing away, and leaves it as it is.

    :param reader: the user's name; without such a user, root alone reads it.
    """
    with _naming(path), open_regular(path, follow=False) as file:
        status = os.fstat(file.fileno())
        if status.st_mode & 0o7777 != _PRIVATE:
            os.fchmod(file.fileno(), _PRIVATE)
        _give(file.fileno(), reader)


def _give(file: int, reader: str) -> None:
    with suppress(KeyError, PermissionError):
        owner = pwd.getpwnam(reader).pw_uid
        if os.fstat(file).st_uid != owner:
            os.fchown(file, owner, -1)


def link_file(source: Path, path: Path) -> bool:
    """Give a file of this tree another name; return whether that was possible."""
    remove_file(path)
    try:
        path.hardlink_to(source)
    except OSError:  # it is gone, or has too many names for its file system: the caller copies it
        return False
    return True


def remove_file(path: Path) -> bool:
    """Remove a file, and what a killed run left of a new one; return whether it was there."""
    remove_staged(path)
    with _naming(path, "removed"):
        try:
            path.unlink()
        except (FileNotFoundError, NotADirectoryError):
            return False
    return True


def remove_staged(path: Path) -> None:
    """Remove what a killed run left of a new file, and leave the file."""
    with _naming(path, "removed"):
        files.remove_unfinished(path)


@contextmanager
def open_inside(root: Path, name: str) -> Iterator[BinaryIO | None]:
    """Open a regular file below ``root`` for reading, without following any link; nothing when it is not there.

    :param root: a directory whose content is not to be trusted.
    :param name: a relative path in normal form.
    :raises TerraError: when it, or a directory above it, is something else than it has to be.
    """
    with Undo() as opened:
        try:
            file = opened.enter_context(file_below(root, name))
        except FileNotFoundError:
            yield None
            return
        except OSError as error:
            raise TerraError(f"{root / name}: is not a regular file in regular directories ({error.strerror})") from error
        size = os.fstat(file.fileno()).st_size
        if not 0 < size <= _LIMIT:
            raise TerraError(f"{root / name}: has {size} bytes, which no boot file has")
        yield file


@contextmanager
def _naming(path: Path, deed: str = "written") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = "make room on its file system" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        raise TerraError(f"{path}: cannot be {deed}: {error.strerror}", hint=hint) from error
