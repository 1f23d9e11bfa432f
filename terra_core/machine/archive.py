"""Archives for an initial RAM disk: "newc" cpio, as the kernel unpacks it.

See ``Documentation/driver-api/early-userspace/buffer-format.rst`` and ``init/initramfs.c`` of the kernel. One archive after
another is unpacked into one tree: a later file takes the place of an earlier one, and a directory replaces a symbolic link. So
a later archive must not have entries for directories that may be links there.
"""

from __future__ import annotations

import gzip
import stat
from collections.abc import Mapping

from attrs import frozen

_MAGIC = b"070701"
_TRAILER = "TRAILER!!!"
_ALIGNMENT = 4
_LEVEL = 6
MERGED = frozenset({"bin", "lib", "lib32", "lib64", "libx32", "sbin"})
"""Directories in ``/`` that are symbolic links into ``/usr`` wherever file-hierarchy(7) is followed."""


@frozen(kw_only=True)
class File:
    """A file of an archive.

    :param content: its bytes.
    :param mode: its permission bits.
    """

    content: bytes
    mode: int = 0o644


def make_archive(files: Mapping[str, File]) -> bytes:
    """Return a gzipped archive of regular files that belong to root, with the directories that they are in.

    The same files make the same archive. The directories of :data:`MERGED` get no entry: every system has them.

    :param files: by path, without a leading slash.
    """
    entries: dict[str, tuple[int, bytes]] = {}
    for path, file in files.items():
        for directory in _directories(path):
            entries[directory] = (stat.S_IFDIR | 0o755, b"")
        entries[path] = (stat.S_IFREG | file.mode, file.content)
    numbered = enumerate(sorted(entries.items()), start=1)
    made = b"".join(_entry(path, number, mode, content) for number, (path, (mode, content)) in numbered)
    return gzip.compress(made + _entry(_TRAILER, 0, 0, b""), compresslevel=_LEVEL, mtime=0)


def join_archives(first: bytes, second: bytes) -> bytes:
    """Return the bytes of two archives, one after the other, for what loads one file only."""
    return _aligned(first) + second


def _directories(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    above = ["/".join(parts[: at + 1]) for at in range(len(parts))]
    return [directory for directory in above if directory not in MERGED]


def _entry(path: str, number: int, mode: int, content: bytes) -> bytes:
    name = path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    fields = (number, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(name), 0)
    return _aligned(_MAGIC + b"".join(b"%08X" % field for field in fields) + name) + _aligned(content)


def _aligned(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNMENT)
