"""The directories below a root, opened by the kernel's own bounds and kept open while they are in use."""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from pathlib import Path
from types import TracebackType

from attrs import define, field

from terra_core.errors import TerraError
from terra_core.oci.faults import ImageError, shown
from terra_core.oci.limits import Tally
from terra_core.system.openat import DIRECTORY, Resolve, open_below

Identity = tuple[int, int]
"""Device and inode number."""

IMPLIED_MODE = 0o755
"""The mode of a directory that no entry describes."""

_KEPT_OPEN = 128
_BOUNDS = Resolve.IN_ROOT | Resolve.NO_MAGICLINKS
_NO_WAY = {
    errno.ENOTDIR: "a file stands where its directory has to be",
    errno.ELOOP: "its directory is reached through a loop of symbolic links",
    errno.ENAMETOOLONG: "a part of its path has more than 255 bytes, or the path is too long",
}


@define(eq=False)
class Directory:
    """An open directory.

    :param fd: its descriptor.
    :param identity: device and inode number.
    :param times: access and change time that it has to have in the end, in nanoseconds.
    :param changed: whether an entry was put in or taken out since it had these times.
    :param aliases: under how many paths it is known.
    """

    fd: int
    identity: Identity
    times: tuple[int, int]
    changed: bool = False
    aliases: int = field(default=0, init=False)


class Directories:
    """Opens directories below a root, and restores the times of each when it is closed.

    Writing into a directory changes its times; an image says what they are. They are set when a directory leaves the small
    set of open ones, so that they are right in the end however large the image is.

    A path that was opened stays valid until a directory or a symbolic link is removed: call :meth:`forget` before that.

    :param root: a directory that nobody else writes to.
    :param tally: counts the directories that are only implied.
    """

    def __init__(self, root: Path, tally: Tally) -> None:
        try:
            self._root = os.open(root, DIRECTORY | os.O_NOFOLLOW)
        except OSError as error:
            raise TerraError(f"{root}: {error.strerror}", hint="name an existing directory, not a link to one") from error
        self._tally = tally
        self._by_path: OrderedDict[bytes, Directory] = OrderedDict()
        self._by_identity: dict[Identity, Directory] = {}

    def __enter__(self) -> Directories:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        failure: OSError | None = None
        while self._by_path:
            try:
                self.forget()
            except OSError as fault:  # the others are closed all the same
                failure = fault
        os.close(self._root)
        if failure is not None and error is None:
            raise TerraError(f"the times of a directory cannot be set: {failure.strerror}") from failure

    def find(self, path: bytes) -> Directory | None:
        """Open a directory, if it exists.

        :param path: relative to the root; links in it are followed as if the root were ``/``.
        :returns: the directory; the one before it stays open too, older ones may not.
        :raises ImageError: when something else stands in the way.
        """
        found = self._by_path.get(path)
        if found is not None:
            self._by_path.move_to_end(path)
            return found
        try:
            fd = open_below(self._root, path, DIRECTORY, _BOUNDS)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno not in _NO_WAY:
                raise
            raise ImageError(_NO_WAY[error.errno]) from error
        return self.keep(path, fd)

    def open(self, path: bytes) -> Directory:
        """Open a directory, and make what is missing of it with owner root and mode 0755.

        :param path: as for :meth:`find`.
        :raises ImageError: when something else stands in the way.
        """
        return self.find(path) or self._make(path)

    def keep(self, path: bytes, fd: int) -> Directory:
        """Take over the descriptor of a directory that was opened or made.

        :param path: where it is.
        :param fd: its descriptor, not to be used by the caller any more.
        """
        status = os.fstat(fd)
        identity = (status.st_dev, status.st_ino)
        directory = self._by_identity.get(identity)
        if directory is None:
            directory = Directory(fd, identity, (status.st_atime_ns, status.st_mtime_ns))
            self._by_identity[identity] = directory
        else:
            os.close(fd)
        before = self._by_path.get(path)
        if before is not directory:
            directory.aliases += 1
            self._by_path[path] = directory
            if before is not None:
                self._release(before)
        if len(self._by_path) > _KEPT_OPEN:
            self._release(self._by_path.popitem(last=False)[1])
        return directory

    def forget(self) -> None:
        """Close every directory, with its times set; paths may mean something else from here on."""
        while self._by_path:
            self._release(self._by_path.popitem()[1])

    def _release(self, directory: Directory) -> None:
        directory.aliases -= 1
        if directory.aliases:
            return
        del self._by_identity[directory.identity]
        try:
            if directory.changed:
                os.utime(directory.fd, ns=directory.times)
        finally:
            os.close(directory.fd)

    def _make(self, path: bytes) -> Directory:
        missing: list[bytes] = []
        above: Directory | None = None
        while above is None:
            path, _, name = path.rpartition(b"/")
            missing.append(name)
            above = self.find(path)
        while missing:
            name = missing.pop()
            self._tally.count_entry()
            try:
                os.mkdir(name, IMPLIED_MODE, dir_fd=above.fd)
            except FileExistsError:
                raise ImageError(f"its directory is reached through {shown(name)!r}, a link that leads nowhere") from None
            above.changed = True
            fd = os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=above.fd)
            try:
                os.fchown(fd, 0, 0)
                os.fchmod(fd, IMPLIED_MODE)
            except BaseException:
                os.close(fd)
                raise
            path = path + b"/" + name if path else name
            above = self.keep(path, fd)
        return above
