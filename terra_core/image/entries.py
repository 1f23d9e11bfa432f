"""From an entry to a file: every change to the tree is made here, relative to an open directory and following no link."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from terra_core.image.directories import Directories, Directory
from terra_core.image.metadata import clear_xattrs, set_metadata, set_metadata_at
from terra_core.image.paths import climbs, split_path
from terra_core.image.removal import remove
from terra_core.image.whiteouts import LayerRecord, apply_whiteout
from terra_core.oci.faults import ImageError, shown
from terra_core.oci.limits import Tally
from terra_core.oci.tar import Entry, Kind, TarReader
from terra_core.oci.whiteouts import read_whiteout
from terra_core.system.openat import DIRECTORY

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_SPECIAL = {Kind.FIFO: stat.S_IFIFO, Kind.CHARACTER: stat.S_IFCHR, Kind.BLOCK: stat.S_IFBLK}


class EntryWriter:
    """Puts the entries of one layer into the tree.

    :param directories: the tree.
    :param reader: gives the content of the entry that is being written.
    :param tally: counts the bytes, and knows the limits.
    :param record: notes what was written, for the whiteouts; ``None`` for the lowest layer, which needs none.
    :param progress: called with every piece of content.
    """

    def __init__(
        self,
        directories: Directories,
        reader: TarReader,
        tally: Tally,
        record: LayerRecord | None,
        progress: Callable[[], None],
    ) -> None:
        self._directories = directories
        self._reader = reader
        self._tally = tally
        self._record = record
        self._progress = progress
        self._makers = {
            Kind.FILE: self._file,
            Kind.LINK: self._link,
            Kind.SYMLINK: self._symlink,
            Kind.DIRECTORY: self._directory,
            Kind.CHARACTER: self._special,
            Kind.BLOCK: self._special,
            Kind.FIFO: self._special,
        }

    def write(self, entry: Entry) -> None:
        """Put one entry into the tree, in place of what stands there.

        :raises ImageError: when it is not allowed, or not possible, at its path.
        :raises OSError: when the kernel refuses.
        """
        path, name = split_path(entry.name, self._tally.limits.path_bytes)
        if climbs(entry.name):
            self._tally.left_out.note("what leads above the root", "it is taken as a path below it", entry.name)
        whiteout = read_whiteout(name)
        if not name:
            self._root(entry)
        elif whiteout is not None:
            apply_whiteout(self._directories, path, whiteout, self._record)
        else:
            self._place(path, name, entry)

    def _place(self, path: bytes, name: bytes, entry: Entry) -> None:
        directory = self._directories.open(path)
        make = self._makers[entry.kind]
        try:
            make(directory, path, name, entry)
        except FileExistsError:
            directory = self._make_way(path, name)
            make(directory, path, name, entry)
        directory.changed = True
        if self._record is not None:
            self._record.wrote(directory.identity, name)

    def _make_way(self, path: bytes, name: bytes) -> Directory:
        directory = self._directories.open(path)
        mode = os.stat(name, dir_fd=directory.fd, follow_symlinks=False).st_mode
        if stat.S_ISDIR(mode) or stat.S_ISLNK(mode):
            self._directories.forget()
            directory = self._directories.open(path)
        if not remove(directory.fd, name):
            raise ImageError("what it replaces is a mount point, or holds one")
        return directory

    def _root(self, entry: Entry) -> None:
        if entry.kind is not Kind.DIRECTORY:
            raise ImageError(f"the root itself as a {entry.kind.value}")
        root = self._directories.open(b"")
        clear_xattrs(root.fd)
        set_metadata(root.fd, entry, self._tally.left_out)
        root.times = (entry.atime, entry.mtime)
        root.changed = True

    def _file(self, directory: Directory, path: bytes, name: bytes, entry: Entry) -> None:
        fd = os.open(name, _NEW_FILE, 0o600, dir_fd=directory.fd)
        try:
            self._tally.count_bytes(entry.size)
            if entry.segments is None:
                self._fill(fd)
            else:
                self._fill_sparse(fd, entry)
            set_metadata(fd, entry, self._tally.left_out)
            os.utime(fd, ns=(entry.atime, entry.mtime))
        finally:
            os.close(fd)

    def _fill(self, fd: int) -> None:
        for piece in self._reader.content():
            written = os.write(fd, piece)
            while written < len(piece):
                written += os.write(fd, piece[written:])
            self._progress()

    def _fill_sparse(self, fd: int, entry: Entry) -> None:
        segments = iter(entry.segments or ())
        offset = left = 0
        for piece in self._reader.content():
            while piece:
                while not left:
                    offset, left = next(segments)
                written = os.pwrite(fd, piece[:left], offset)
                offset, left, piece = offset + written, left - written, piece[written:]
            self._progress()
        os.ftruncate(fd, entry.size)

    def _link(self, directory: Directory, path: bytes, name: bytes, entry: Entry) -> None:
        source_path, source_name = split_path(entry.target, self._tally.limits.path_bytes)
        source = self._directories.find(source_path)
        target = shown(entry.target)
        if source is None or not source_name:
            raise ImageError(f"a hard link to {target!r}, which is not there")
        try:
            os.link(source_name, name, src_dir_fd=source.fd, dst_dir_fd=directory.fd, follow_symlinks=False)
        except FileExistsError:
            if not _same(source, source_name, directory, name):
                raise
        except FileNotFoundError:
            raise ImageError(f"a hard link to {target!r}, which is not there") from None
        except OSError as error:
            if error.errno == errno.EXDEV:
                message = f"a hard link to {target!r}, which is on another file system or subvolume"
                raise ImageError(message, hint="keep both in one subvolume") from error
            raise ImageError(f"a hard link to {target!r}: {error.strerror}") from error

    def _symlink(self, directory: Directory, path: bytes, name: bytes, entry: Entry) -> None:
        if not entry.target or len(entry.target) >= self._tally.limits.path_bytes:
            raise ImageError(f"a symbolic link to a path of {len(entry.target)} bytes")
        os.symlink(entry.target, name, dir_fd=directory.fd)
        set_metadata_at(directory.fd, name, entry, self._tally.left_out, mode=False)

    def _special(self, directory: Directory, path: bytes, name: bytes, entry: Entry) -> None:
        os.mknod(name, _SPECIAL[entry.kind] | 0o600, os.makedev(*entry.device), dir_fd=directory.fd)
        set_metadata_at(directory.fd, name, entry, self._tally.left_out, mode=True)

    def _directory(self, directory: Directory, path: bytes, name: bytes, entry: Entry) -> None:
        fresh = True
        try:
            os.mkdir(name, 0o700, dir_fd=directory.fd)
        except FileExistsError:
            fresh = False
        try:
            fd = os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=directory.fd)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise FileExistsError(errno.EEXIST, "a file stands there") from error
            raise
        made = self._directories.keep(path + b"/" + name if path else name, fd)
        if not fresh:
            clear_xattrs(made.fd)
        set_metadata(made.fd, entry, self._tally.left_out)
        made.times = (entry.atime, entry.mtime)
        made.changed = True


def _same(source: Directory, source_name: bytes, directory: Directory, name: bytes) -> bool:
    first = os.stat(source_name, dir_fd=source.fd, follow_symlinks=False)
    second = os.stat(name, dir_fd=directory.fd, follow_symlinks=False)
    return os.path.samestat(first, second)
