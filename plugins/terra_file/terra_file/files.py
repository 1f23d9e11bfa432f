"""The files of volumes: ``HOST/N.lun`` in the store's directory, never reached through a link."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import evolve, frozen

from terra_core.config.node import Allocation
from terra_core.config.session import Session
from terra_core.config.values import Hostname
from terra_core.errors import ConflictError, TerraError
from terra_core.hookspecs import Room, Volume, VolumeRequest
from terra_core.system.openat import directory_below
from terra_core.system.progress import Event, Report
from terra_core.system.room import measured
from terra_core.system.undo import Undo, undoing
from terra_file.settings import NAME, Settings, directory_of

_MB = 1024 * 1024
_SETTINGS = Settings()
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_CLONE = (errno.EOPNOTSUPP, errno.EINVAL, errno.EXDEV, errno.ENOTTY, errno.ENOSYS)
_FICLONE = 0x40049409
"""ioctl_ficlonerange(2)."""
_GETFLAGS, _SETFLAGS, _NOCOW = 0x80086601, 0x40086602, 0x00800000
"""ioctl_iflags(2)."""
_CHUNK = 1 << 20
_LOOK = 64 << 20
"""After so many bytes of a copy, the room is looked at again."""
_BLOCK = 512
"""The unit of ``st_blocks`` (inode(7))."""
# Characters that other programs keep: tgtadm splits at commas, and its output into lines.
_PATH = re.compile(r"(?:/[A-Za-z0-9._@+:=~-]+)+")
_NUMBERED = re.compile(r"[0-9]{1,9}\.lun")
_MISSING = "it is never made anew: bring the file back, or delete the machine and provision it again"
_MAKE_ROOM = "make room: terra delete takes a machine away, terra images shows what nobody uses; or enlarge the store"
_STEP = "allocate"


@frozen
class Files:
    """The volumes below a directory.

    :param directory: an absolute path. It may be a link itself; nothing below it may be one.
    :param report: who listens.
    :param settings: the table of the store.
    """

    directory: Path
    report: Report
    settings: Settings = _SETTINGS

    @classmethod
    def of(cls, session: Session) -> Files:
        """Return the volumes of a controller.

        :raises ConfigError: when the table ``[file]`` is wrong.
        """
        return cls(directory_of(session), session.report, session.settings(NAME, Settings))

    def plan(self, request: VolumeRequest) -> Volume:
        """Return the volume of a machine's disk; nothing is touched.

        :raises TerraError: when the directory has a name that a transport can't be told of.
        :raises ConflictError: when there is something of that name. It is checked here because undoing a stored plan removes
            the files of these names, which must not be somebody else's.
        """
        path = self.directory / request.hostname / f"{request.number}.lun"
        if not _PATH.fullmatch(str(path)):
            message = f"{path}: volumes need a path of letters, digits and ._@+:=~- only"
            raise TerraError(message, hint="choose another --root, or another directory in [file]")
        full = self.settings.allocation is Allocation.FULL if request.full is None else request.full
        volume = Volume(name=str(path), size=request.size, full=full)
        _require_absent(volume)
        return volume

    @contextmanager
    def made(self, volume: Volume, origin: Volume | None = None) -> Iterator[None]:
        """Make the file of a volume; it stays, unless the work that follows fails.

        :param origin: the volume whose content it gets; none for an empty one.
        """
        if not volume.full:
            self._warn(volume.name, volume.size)
        self.report(Event(_STEP, f"allocating {volume.size} MB at {volume.name}"))
        with Undo() as undo:
            self._allocate(volume, origin)
            undo.callback(self.remove, volume)
            yield
            undo.pop_all()

    @contextmanager
    def grown(self, volume: Volume, size: int) -> Iterator[None]:
        """Make the file of a volume larger; it stays so, unless the work that follows fails.

        :param size: in MB.
        :raises TerraError: when it is neither as it was made nor of that size.
        """
        larger = evolve(volume, size=size)
        try:
            self.verify(volume)
        except TerraError:
            self.verify(larger)
        if not volume.full:
            self._warn(volume.name, size - volume.size)
        with Undo() as undo:
            undo.callback(self._resize, volume)
            self._resize(larger)
            yield
            undo.pop_all()

    @contextmanager
    def opened(self, volume: Volume) -> Iterator[Path]:
        """Offer the file of a volume, and have all that was written to it on the disk in the end.

        :raises TerraError: when it is not what was made.
        """
        self.verify(volume)
        yield Path(volume.name)
        with self._host_directory(Path(volume.name)) as directory:
            file = os.open(Path(volume.name).name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            try:
                os.fsync(file)
            except OSError as error:
                raise _unwritable(Path(volume.name), volume.size, error) from error
            finally:
                os.close(file)

    def stamp(self, volume: Volume) -> str:
        """Return what changes when the file of a volume is written to, also through a loop device, or replaced.

        :raises TerraError: as :meth:`verify` does.
        """
        status = self.verify(volume)
        # The time of a write can be set back (touch(1), rsync(1)), and the time of a change cannot.
        return f"{status.st_ino}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"

    def verify(self, volume: Volume) -> os.stat_result:
        """Check that the file of a volume is what was made.

        :returns: what stat(2) says of it.
        :raises TerraError: when it is missing, is no regular file, or has another size.
        """
        path = Path(volume.name)
        try:
            with self._host_directory(path) as directory:
                status = os.stat(path.name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            raise TerraError(f"{path}: the LUN file is missing", hint=_MISSING) from None
        if stat.S_ISLNK(status.st_mode):
            raise TerraError(f"{path}: a symbolic link stands in place of the LUN file", hint=_MISSING)
        if not stat.S_ISREG(status.st_mode):
            raise TerraError(f"{path}: the LUN file is no regular file", hint=_MISSING)
        if status.st_size != volume.size * _MB:
            message = f"{path}: the LUN file has {status.st_size} bytes instead of {volume.size * _MB}"
            raise TerraError(message, hint=_MISSING)
        return status

    def remove(self, volume: Volume) -> bool:
        """Remove the file of a volume, and the host's directory with its last one; return whether there was anything.

        :raises TerraError: when it is outside the store's directory, or can't be removed.
        """
        path = Path(volume.name)
        try:
            with self._host_directory(path) as directory:
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

    def remove_all(self, hostname: Hostname) -> bool:
        """Remove all files in a host's directory that have names of volumes; return whether there was anything."""
        directory = self.directory / hostname
        try:
            with self._host_directory(directory / "0.lun") as opened, os.scandir(opened) as found:
                names = sorted(entry.name for entry in found if _NUMBERED.fullmatch(entry.name))
        except FileNotFoundError:
            return False
        removed = [self.remove(Volume(name=str(directory / name), size=0)) for name in names]
        return any(removed)

    def _warn(self, name: str, size: int) -> None:
        """Say when more is promised than there is room for now."""
        free = self.room().free // _MB
        if free < size:
            self.report(Event(_STEP, f"warning: {size} MB are promised to {name}, and {free} MB are free"))

    def _resize(self, volume: Volume) -> None:
        path = Path(volume.name)
        with self._host_directory(path) as directory:
            file = os.open(path.name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            try:
                if volume.full:
                    _take_all(file, volume)
                os.ftruncate(file, volume.size * _MB)
                os.fsync(file)
            except OSError as error:
                raise _unwritable(path, volume.size, error) from error
            finally:
                os.close(file)

    def _allocate(self, volume: Volume, origin: Volume | None) -> None:
        """Make a file: sparse, of exactly its size, and for root alone."""
        path = Path(volume.name)
        try:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _unwritable(self.directory, 0, error) from error
        with self._host_directory(path, make=True) as directory:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            try:
                file = os.open(path.name, flags, 0o600, dir_fd=directory)
            except FileExistsError:
                _require_absent(volume)
                raise
            except OSError as error:
                raise _unwritable(path, volume.size, error) from error
            try:
                if volume.full:
                    _take_all(file, volume)
                if origin is not None:
                    self._copy(origin, file, shared=not volume.full)
                os.ftruncate(file, volume.size * _MB)
                os.fsync(file)
                os.fsync(directory)
            except BaseException as error:
                with undoing(error):
                    os.unlink(path.name, dir_fd=directory)
                if isinstance(error, OSError):
                    raise _unwritable(path, volume.size, error) from error
                raise
            finally:
                os.close(file)

    def _copy(self, origin: Volume, file: int, *, shared: bool) -> None:
        """Share the blocks of another volume's file, or copy them where the file system shares none; holes stay holes.

        :param shared: whether blocks may be shared: a write to one that is needs further room.
        """
        self.verify(origin)
        with self._host_directory(Path(origin.name)) as directory:
            source = os.open(Path(origin.name).name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        try:
            try:
                if shared:
                    fcntl.ioctl(file, _FICLONE, source)
                else:
                    self._copy_data(source, file, origin.size * _MB)
            except OSError as error:
                if not shared or error.errno not in _NO_CLONE:
                    raise
                message = f"{self.directory}: its file system shares no blocks between files, so {origin.name} is copied"
                self.report(Event(_STEP, message))
                self._require_room(os.fstat(source).st_blocks * _BLOCK)
                self._copy_data(source, file, origin.size * _MB, watched=True)
        finally:
            os.close(source)

    def _require_room(self, needed: int = 0) -> None:
        """Check that a copy takes nothing of what is kept free for machines that there are.

        :param needed: in bytes.
        :raises TerraError: when it does.
        """
        room = self.room()
        if room.free - needed < room.reserve:
            kept = f"{room.free // _MB} MB are free, {room.reserve // _MB} MB of them are kept for machines that there are"
            more = f", and the copy needs {needed // _MB} MB" if needed else ""
            raise TerraError(f"{self.directory}: there is no room for a copy: {kept}{more}", hint=_MAKE_ROOM)

    def _copy_data(self, source: int, file: int, size: int, *, watched: bool = False) -> None:
        """Copy what a file has into another one.

        :param size: in bytes.
        :param watched: whether the copy takes room that is not its own yet, as others may do at the same time.
        """
        at = unseen = 0
        while at < size:
            try:
                begin = os.lseek(source, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # only a hole is left
                    return
                raise
            at = os.lseek(source, begin, os.SEEK_HOLE)
            os.lseek(source, begin, os.SEEK_SET)
            os.lseek(file, begin, os.SEEK_SET)
            while begin < at:
                copied = os.sendfile(file, source, None, min(_CHUNK, at - begin))
                if not copied:
                    return
                begin, unseen = begin + copied, unseen + copied
                if watched and unseen >= _LOOK:
                    self._require_room()
                    unseen = 0
                self.report(Event(_STEP, "copying", begin // _MB, size // _MB, "MB"))

    def room(self) -> Room:
        """Return the room of the file system of the directory."""
        found = measured(self.directory)
        return Room(**found, reserve=self.settings.reserved(found["size"]))

    @contextmanager
    def _host_directory(self, path: Path, *, make: bool = False) -> Iterator[int]:
        """Offer the opened directory of a volume's file, also of one that was made when the table named another directory."""
        if not (path.is_absolute() and _NUMBERED.fullmatch(path.name) and ".." not in path.parts):
            raise TerraError(f"{path}: is no volume of this store, whose volumes are files DIRECTORY/HOST/N.lun")
        with Undo() as opened:
            try:
                below = directory_below(path.parent.parent, path.parent.name, make=0o700 if make else None)
                directory = opened.enter_context(below)
            except OSError as error:
                if error.errno in (errno.ELOOP, errno.ENOTDIR):
                    raise TerraError(f"{path.parent}: is a link or a file where a directory belongs") from None
                if make:
                    raise _unwritable(path.parent, 0, error) from error
                raise
            yield directory


def _take_all(file: int, volume: Volume) -> None:
    """Give an empty file all of its room, in blocks that are written in place: btrfs writes to others unless it is told so."""
    with suppress(OSError):  # other file systems write in place, and know no such flag
        flags = bytearray(8)
        fcntl.ioctl(file, _GETFLAGS, flags)
        fcntl.ioctl(file, _SETFLAGS, struct.pack("=Q", struct.unpack("=Q", flags)[0] | _NOCOW))
    os.posix_fallocate(file, 0, volume.size * _MB)


def _require_absent(volume: Volume) -> None:
    if os.path.lexists(volume.name):
        message = f"{volume.name}: is there already, and may hold somebody's data"
        raise ConflictError(message, hint="look at it, and move it away")


def _unwritable(path: Path, size: int, error: OSError) -> TerraError:
    if error.errno in _FULL:
        return TerraError(f"{path}: the disk is full", hint="free some space, or move volumes to another disk")
    if error.errno == errno.EFBIG:
        return TerraError(f"{path}: the file system it is on holds no file of {size} MB")
    return TerraError(f"{path}: cannot be made: {error.strerror}")
