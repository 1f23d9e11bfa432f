"""Every file of a version as it was laid down, and the file system's marks by which an untouched one is known at once."""

from __future__ import annotations

import errno
import gzip
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path

from attrs import evolve, frozen

from terra_core.errors import TerraError
from terra_core.system.openat import DIRECTORY, WITHOUT_LINKS, file_below, open_below

FORMAT = 1
_LEFT_OUT = frozenset({errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EINVAL})
"""What reading a name says of which somebody has made something else just now, or that is too deep."""
_PIECE = 1 << 20
_MOST_BYTES = 1 << 30
_LONGEST_LINE = 4 << 20
"""A line has a path, a target and extended attributes at most, whose values the kernel limits to 64 KiB each (xattr(7))."""
_SYMLINK = "link"
_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: _SYMLINK,
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}
Mark = tuple[int, int, int]
Attributes = tuple[tuple[str, str], ...]
NO_MARK: Mark = (0, 0, 0)
"""The mark of a file that is written after its manifest: its content is always read."""


@frozen(kw_only=True)
class Entry:
    """A file of a tree, whatever its kind.

    :param kind: ``file``, ``directory``, ``link``, ``fifo``, ``socket``, ``character device`` or ``block device``.
    :param mode: the permission bits.
    :param size: of a file, in bytes; 0 of all else.
    :param content: SHA-256 of a file, the target of a link, the numbers of a device; empty while a file has not been read.
    :param attributes: names of extended attributes with their values in hexadecimal digits, sorted.
    :param mark: inode, time of the last write and time of the last change (inode(7)), both in nanoseconds. The kernel sets the
        last one by its clock at every change, and no program can set it.
    """

    kind: str
    mode: int
    uid: int
    gid: int
    size: int = 0
    content: str = ""
    attributes: Attributes = ()
    mark: Mark = NO_MARK


def entries(root: Path, *, left_out: str) -> Iterator[tuple[str, Entry]]:
    """Yield all files below a root by their paths, those of directories before what is in them; the root itself is ``""``.

    Files are not read: their content is empty. What disappears meanwhile is left out, and what is deeper than any path may be
    long, which every user of a machine can make. No link is followed, also none that somebody puts in the place of a directory
    meanwhile.

    :param root: a directory below which nothing is mounted.
    :param left_out: the path of a directory that is not looked into.
    :raises TerraError: naming the directory that cannot be read.
    """
    yield "", _entry(str(root), os.lstat(root))
    top = os.open(root, DIRECTORY)
    pending = [""]
    try:
        while pending:
            place = pending.pop()
            if place == left_out:
                continue
            try:
                for path, entry in _within(root, top, place):
                    if entry.kind == "directory":
                        pending.append(path)
                    yield path, entry
            except OSError as error:
                if error.errno not in _LEFT_OUT:
                    raise TerraError(f"{root}/{place}: cannot be read: {error.strerror}") from error
    finally:
        os.close(top)


def _within(root: Path, top: int, place: str) -> Iterator[tuple[str, Entry]]:
    """Yield what is in a directory.

    :param top: the descriptor of the root.
    """
    descriptor = open_below(top, os.fsencode(place), DIRECTORY, WITHOUT_LINKS)
    try:
        with os.scandir(descriptor) as found:
            for one in found:
                path = f"{place}/{one.name}" if place else one.name
                try:
                    entry = _entry(f"{root}/{path}", one.stat(follow_symlinks=False))
                except OSError as error:
                    if error.errno in _LEFT_OUT:
                        continue
                    raise
                yield path, entry
    finally:
        os.close(descriptor)


def digest_of(root: Path, path: str) -> str:
    """Return the SHA-256 of a regular file below a root, to which no link leads.

    :raises OSError: when there is none, or it cannot be read.
    """
    with file_below(root, path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_manifest(root: Path, *, left_out: str) -> dict[str, Entry]:
    """Return every file below a root, with its content; the parameters are those of :func:`entries`.

    :raises TerraError: naming what cannot be read.
    """
    made = {}
    for path, entry in entries(root, left_out=left_out):
        try:
            made[path] = evolve(entry, content=digest_of(root, path)) if entry.kind == "file" else entry
        except OSError as error:
            raise TerraError(f"{root / path}: cannot be read: {error.strerror}") from error
    return made


def packed(manifest: Mapping[str, Entry]) -> bytes:
    """Return a manifest as it is kept: compressed lines of JSON, the first one with the format's number."""
    lines = [json.dumps({"format": FORMAT})]
    lines += [
        json.dumps([path, one.kind, one.mode, one.uid, one.gid, one.size, one.content, one.attributes, one.mark])
        for path, one in manifest.items()
    ]
    return gzip.compress("\n".join(lines).encode(), compresslevel=3, mtime=0)


def unpacked(data: bytes) -> dict[str, Entry]:
    """Return what :func:`packed` made.

    :raises ValueError: for anything else.
    """
    with gzip.GzipFile(fileobj=BytesIO(data)) as file:
        return dict(_rows(_lines(file)))


def _lines(file: gzip.GzipFile) -> Iterator[bytes]:
    """Yield the lines of a file, each as it is unpacked: room for all that there may be is more than a small machine has."""
    left = _MOST_BYTES
    while line := file.readline(_LONGEST_LINE + 1):
        left -= len(line)
        if len(line) > _LONGEST_LINE or left < 0:
            raise ValueError("is too large")
        yield line


def _rows(lines: Iterator[bytes]) -> Iterator[tuple[str, Entry]]:
    if json.loads(next(lines, b"null")) != {"format": FORMAT}:
        raise ValueError("is of another format")
    for row in lines:
        path, kind, mode, uid, gid, size, content, attributes, (inode, written, changed) = json.loads(row)
        yield (
            path,
            Entry(
                kind=kind,
                mode=mode,
                uid=uid,
                gid=gid,
                size=size,
                content=content,
                attributes=tuple((name, value) for name, value in attributes),
                mark=(inode, written, changed),
            ),
        )


def _entry(path: str, status: os.stat_result) -> Entry:
    kind = _KINDS[stat.S_IFMT(status.st_mode)]
    content = ""
    if kind == _SYMLINK:
        content = os.readlink(path)  # noqa: PTH115  # a Path for each file of a system takes as long as all else
    elif kind.endswith("device"):
        content = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
    return Entry(
        kind=kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        size=status.st_size if kind == "file" else 0,
        content=content,
        attributes=_attributes(path),
        mark=(status.st_ino, status.st_mtime_ns, status.st_ctime_ns),
    )


def _attributes(path: str) -> Attributes:
    names = os.listxattr(path, follow_symlinks=False)
    return tuple((name, os.getxattr(path, name, follow_symlinks=False).hex()) for name in sorted(names))
