"""Reading and writing single files of a tree that is not trusted: every path is resolved below its root by the kernel."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO

from terra_core.errors import TerraError
from terra_core.system.files import replacing_in
from terra_core.system.openat import DIRECTORY, Resolve, open_below, open_directory, open_regular
from terra_core.system.reading import NotRegularError, open_found

_WITHIN = Resolve.IN_ROOT | Resolve.NO_MAGICLINKS


class ContainedRoot:
    """The root of a tree, such as an unpacked image. A context manager; symbolic links resolve as they would for the machine.

    :param path: the root; the caller vouches for this path itself.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._root = -1

    def __enter__(self) -> ContainedRoot:
        self._root = os.open(self._path, DIRECTORY)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._root)

    def read(self, path: str, *, limit: int) -> bytes | None:
        """Return the content of a regular file; ``None`` when there is nothing at ``path``.

        :param path: relative to the root.
        :param limit: the largest size that is read, in bytes.
        :raises TerraError: when it is no regular file or larger than the limit.
        """
        try:
            with self._open(path, limit) as file:
                return file.read()
        except FileNotFoundError:
            return None

    def read_of(self, path: str, *, owners: Collection[int], limit: int) -> bytes | None:
        """Return the content of a file that belongs to one of some users; ``None`` when there is none, or it is another's.

        Whose it is and what is in it is asked of one and the same file, whatever is renamed meanwhile.

        :param path: relative to the root.
        :param owners: the numbers of the users.
        :param limit: as for :meth:`read`.
        :raises TerraError: when it is theirs, and no regular file or larger than the limit.
        """
        seen = self._seen(path, follow=True)
        if seen is None:
            return None
        try:
            if os.fstat(seen).st_uid not in owners:
                return None
            try:
                descriptor = open_found(seen, path)
            except NotRegularError as error:
                raise TerraError(f"/{path} of the image's tree is no regular file") from error
            except OSError as error:
                raise TerraError(f"/{path} of the image's tree cannot be read: {error.strerror}") from error
        finally:
            os.close(seen)
        with os.fdopen(descriptor, "rb") as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise TerraError(f"/{path} of the image's tree has more than {limit} bytes, which is the limit")
        return content

    def write(self, path: str, content: bytes, *, mode: int) -> None:
        """Put a new file in place of whatever stands at ``path``; its directory is made when it is missing.

        A symbolic link at ``path`` itself is replaced, not followed.

        :param path: relative to the root.
        :param mode: the permission bits.
        :raises TerraError: when it cannot be written.
        """
        directory, _, name = path.rpartition("/")
        try:
            parent = open_directory(self._root, os.fsencode(directory), _WITHIN, make=0o755)
            try:
                with replacing_in(parent, name, mode=mode) as file:
                    file.write(content)
            finally:
                os.close(parent)
        except OSError as error:
            raise TerraError(f"/{path} of the image's tree cannot be written: {error.strerror}") from error

    def link(self, path: str, target: str) -> None:
        """Put a symbolic link in place of whatever file or link stands at ``path``; its directory is made when it is missing.

        :param path: relative to the root.
        :param target: what it points to, word for word.
        :raises TerraError: when it cannot be made.
        """
        directory, _, name = path.rpartition("/")
        fresh = f".{name}.terra"
        try:
            parent = open_directory(self._root, os.fsencode(directory), _WITHIN, make=0o755)
            try:
                with suppress(FileNotFoundError):
                    os.unlink(fresh, dir_fd=parent)
                os.symlink(target, fresh, dir_fd=parent)
                os.rename(fresh, name, src_dir_fd=parent, dst_dir_fd=parent)
            finally:
                os.close(parent)
        except OSError as error:
            raise TerraError(f"/{path} of the image's tree cannot be written: {error.strerror}") from error

    def directory(self, path: str) -> None:
        """Make a directory and those that it is in, where they are missing.

        :param path: relative to the root.
        :raises TerraError: when it cannot be made, such as where a file stands.
        """
        try:
            os.close(open_directory(self._root, os.fsencode(path), _WITHIN, make=0o755))
        except OSError as error:
            raise TerraError(f"/{path} of the image's tree cannot be made: {error.strerror}") from error

    @contextmanager
    def opened(self, path: str, *, make: bool = False) -> Iterator[int]:
        """Open a directory, which may be made with those that it is in, and yield its descriptor.

        :param path: relative to the root.
        :raises TerraError: when there is none.
        """
        try:
            descriptor = open_directory(self._root, os.fsencode(path), _WITHIN, make=0o755 if make else None)
        except OSError as error:
            raise TerraError(f"/{path} of the tree cannot be opened: {error.strerror}") from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def remove(self, path: str) -> None:
        """Remove a file or symbolic link, if it is there; its directory is resolved below the root.

        :param path: relative to the root.
        :raises TerraError: when it cannot be removed, such as a directory.
        """
        directory, _, name = path.rpartition("/")
        try:
            parent = open_directory(self._root, os.fsencode(directory), _WITHIN)
            try:
                os.unlink(name, dir_fd=parent)
            finally:
                os.close(parent)
        except FileNotFoundError:
            return
        except OSError as error:
            raise TerraError(f"/{path} of the image's tree cannot be removed: {error.strerror}") from error

    def look(self, path: str, *, follow: bool = True) -> os.stat_result | None:
        """Return the status of ``path`` without opening it; ``None`` where nothing is, or a link that leads nowhere.

        :param path: relative to the root.
        :param follow: whether a link at ``path`` itself is followed.
        :raises TerraError: when it cannot be looked at.
        """
        seen = self._seen(path, follow=follow)
        if seen is None:
            return None
        try:
            return os.fstat(seen)
        finally:
            os.close(seen)

    def target(self, path: str) -> str:
        """Return the target of the symbolic link at ``path``, word for word; an empty string when there is none."""
        seen = self._seen(path, follow=False)
        if seen is None:
            return ""
        try:
            return os.readlink("", dir_fd=seen)
        except OSError:
            return ""
        finally:
            os.close(seen)

    def read_small(self, path: str, *, limit: int) -> bytes:
        """Return the content of a regular file of at most ``limit`` bytes; nothing where there is no such file."""
        found = self.look(path)
        if found is None or not stat.S_ISREG(found.st_mode) or found.st_size > limit:
            return b""
        return self.read(path, limit=limit) or b""

    def file_at(self, path: str) -> str:
        """Return the path of the regular file at ``path`` without any link in it; an empty string when there is none."""
        seen = self._seen(path, follow=True)
        if seen is None:
            return ""
        try:
            if not stat.S_ISREG(os.fstat(seen).st_mode):
                return ""
            return self.path_of(seen)
        finally:
            os.close(seen)

    def path_of(self, descriptor: int) -> str:
        """Return the path of something below the root that is open, without any link in it; of the root itself, ``.``."""
        place, root = (Path(f"/proc/self/fd/{one}").readlink() for one in (descriptor, self._root))
        return str(place.relative_to(root))

    def pieces(self, path: str) -> Iterator[bytes]:
        """Yield the content of a regular file, piece by piece.

        :raises TerraError: when it cannot be read.
        """
        with self._open(path, sys.maxsize) as file:
            while piece := file.read(1024 * 1024):
                yield piece

    def _seen(self, path: str, *, follow: bool) -> int | None:
        flags = os.O_PATH if follow else os.O_PATH | os.O_NOFOLLOW
        try:
            return open_below(self._root, os.fsencode(path), flags, _WITHIN)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
                return None
            raise TerraError(f"/{path} of the image's tree cannot be read: {error.strerror}") from error

    def names(self, path: str) -> frozenset[str]:
        """Return the names in a directory; none when there is no such directory.

        :raises TerraError: when it cannot be read.
        """
        try:
            descriptor = open_directory(self._root, os.fsencode(path), _WITHIN)
        except (FileNotFoundError, NotADirectoryError):
            return frozenset()
        except OSError as error:
            raise TerraError(f"/{path} of the image's tree cannot be read: {error.strerror}") from error
        try:
            return frozenset(os.listdir(descriptor))  # noqa: PTH208  # pathlib lists no descriptor
        finally:
            os.close(descriptor)

    def copy_out(self, path: str, to: Path, *, limit: int) -> None:
        """Copy a regular file out of the tree.

        :param path: relative to the root.
        :param to: the file to make; it must not be there yet.
        :param limit: the largest size that is copied, in bytes.
        :raises TerraError: when it is missing, no regular file, or larger than the limit.
        """
        try:
            with self._open(path, limit) as source, to.open("xb") as copy:
                shutil.copyfileobj(source, copy, 1024 * 1024)
        except FileNotFoundError:
            raise TerraError(f"/{path} of the image's tree is missing") from None
        except OSError as error:
            raise TerraError(f"/{path} of the image's tree cannot be copied to {to}: {error.strerror}") from error

    @contextmanager
    def _open(self, path: str, limit: int) -> Iterator[IO[bytes]]:
        try:
            descriptor = open_regular(self._root, os.fsencode(path), _WITHIN)
        except FileNotFoundError:
            raise
        except NotRegularError as error:
            raise TerraError(f"/{path} of the image's tree is no regular file") from error
        except OSError as error:
            raise TerraError(f"/{path} of the image's tree cannot be read: {error.strerror}") from error
        size = os.fstat(descriptor).st_size
        if size > limit:
            os.close(descriptor)
            raise TerraError(f"/{path} of the image's tree has {size} bytes, the limit is {limit}")
        with os.fdopen(descriptor, "rb") as file:
            yield file

