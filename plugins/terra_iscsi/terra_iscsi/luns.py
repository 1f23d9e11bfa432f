"""The files behind logical units: ``HOST/N.lun`` in the controller's iSCSI directory, never reached through a link."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from terra_core.config.controller import Paths
from terra_core.config.values import Hostname
from terra_core.errors import ConflictError, TerraError
from terra_core.hookspecs import Lun
from terra_core.system.undo import undoing

MB = 1024 * 1024
_FULL = (errno.ENOSPC, errno.EDQUOT)
# What tgtadm takes and shows again as it was: it splits its parameters at commas, and its output into lines.
_PATH = re.compile(r"(?:/[A-Za-z0-9._@+:=~-]+)+")

_NUMBERED = re.compile(r"[0-9]{1,9}\.lun")


def lun_path(paths: Paths, hostname: Hostname, number: int) -> Path:
    """Where LUN file ``number`` of a host belongs.

    :raises TerraError: when the directory has a name that tgtd can't be told of.
    """
    path = _store(paths) / hostname / f"{number}.lun"
    if not _PATH.fullmatch(str(path)):
        raise TerraError(f"{path}: LUN files need a path of letters, digits and ._@+:=~- only", hint="choose another --root")
    return path


def require_absent(lun: Lun) -> None:
    """Refuse a place where something is already.

    :raises ConflictError: when there is anything of this name.
    """
    if os.path.lexists(lun.path):
        message = f"{lun.path}: is there already, and may hold somebody's data"
        raise ConflictError(message, hint="look at it, and move it away")


def allocate(lun: Lun, paths: Paths) -> None:
    """Make the file of a logical unit: sparse, of exactly its size, and for root alone.

    :raises ConflictError: when there is one of this name already.
    :raises TerraError: when the disk is full, or the directory is a link.
    """
    path = Path(lun.path)
    _store(paths).mkdir(mode=0o700, parents=True, exist_ok=True)
    with _host_directory(path, paths, make=True) as directory:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            file = os.open(path.name, flags, 0o600, dir_fd=directory)
        except FileExistsError:
            require_absent(lun)
            raise
        except OSError as error:
            raise _unwritable(path, lun.size, error) from error
        try:
            os.ftruncate(file, lun.size * MB)
            os.fsync(file)
            os.fsync(directory)
        except BaseException as error:
            with undoing(error):
                os.unlink(path.name, dir_fd=directory)
            if isinstance(error, OSError):
                raise _unwritable(path, lun.size, error) from error
            raise
        finally:
            os.close(file)


def verify(lun: Lun, paths: Paths) -> None:
    """Check that the file of a logical unit is what :func:`allocate` made.

    :raises TerraError: when it is missing, is no regular file, or has another size.
    """
    path = Path(lun.path)
    hint = "it is never made anew: bring the file back, or delete the machine and provision it again"
    try:
        with _host_directory(path, paths) as directory:
            status = os.stat(path.name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        raise TerraError(f"{path}: the LUN file is missing", hint=hint) from None
    if stat.S_ISLNK(status.st_mode):
        raise TerraError(f"{path}: a symbolic link stands in place of the LUN file", hint=hint)
    if not stat.S_ISREG(status.st_mode):
        raise TerraError(f"{path}: the LUN file is no regular file", hint=hint)
    if status.st_size != lun.size * MB:
        message = f"{path}: the LUN file has {status.st_size} bytes instead of {lun.size * MB}"
        raise TerraError(message, hint=hint)


def remove(lun: Lun, paths: Paths) -> bool:
    """Remove the file of a logical unit, and the host's directory with its last one; says whether there was anything.

    :raises TerraError: when it is outside the iSCSI directory, or can't be removed.
    """
    path = Path(lun.path)
    try:
        with _host_directory(path, paths) as directory:
            os.unlink(path.name, dir_fd=directory)
            os.fsync(directory)
        found = True
    except FileNotFoundError:
        found = False
    except OSError as error:
        raise TerraError(f"{path}: cannot be removed: {error.strerror}") from error
    try:
        path.parent.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise TerraError(f"{path.parent}: cannot be removed: {error.strerror}") from error
    return found


def luns_of(paths: Paths, hostname: Hostname) -> tuple[Lun, ...]:
    """What lies in a host's directory under the names of LUN files, whatever it is."""
    try:
        with _host_directory(lun_path(paths, hostname, 0), paths) as directory, os.scandir(directory) as found:
            names = sorted(entry.name for entry in found if _NUMBERED.fullmatch(entry.name))
    except FileNotFoundError:
        return ()
    return tuple(Lun(id=at + 1, path=str(_store(paths) / hostname / name), size=0) for at, name in enumerate(names))


def free_bytes(paths: Paths) -> int:
    """What can still be written below the iSCSI directory, in bytes."""
    place = _store(paths)
    while not place.is_dir():
        place = place.parent
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize


def _store(paths: Paths) -> Path:
    return paths.iscsi.absolute()


@contextmanager
def _host_directory(path: Path, paths: Paths, *, make: bool = False) -> Iterator[int]:
    """The opened directory of a LUN file; the iSCSI directory itself may be a link, nothing below it."""
    if path.parent.parent != _store(paths) or path.name in ("", ".", ".."):
        raise TerraError(f"{path}: is no LUN file of {_store(paths)}", hint="was the controller started with another --root?")
    store = os.open(_store(paths), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if make:
            _make_directory(path.parent, store)
        try:
            directory = os.open(path.parent.name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=store)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                raise TerraError(f"{path.parent}: is a link or a file where a directory belongs") from None
            raise
    finally:
        os.close(store)
    try:
        yield directory
    finally:
        os.close(directory)


def _make_directory(path: Path, store: int) -> None:
    try:
        os.mkdir(path.name, 0o700, dir_fd=store)
    except FileExistsError:
        return
    except OSError as error:
        raise _unwritable(path, 0, error) from error


def _unwritable(path: Path, size: int, error: OSError) -> TerraError:
    if error.errno in _FULL:
        return TerraError(f"{path}: the disk is full", hint="free some space, or move LUN files to another disk")
    if error.errno == errno.EFBIG:
        return TerraError(f"{path}: the file system it is on holds no file of {size} MB")
    return TerraError(f"{path}: cannot be made: {error.strerror}")
