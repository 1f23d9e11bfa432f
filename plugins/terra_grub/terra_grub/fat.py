"""Where a file lies on the FAT32 that Terra makes (Microsoft's "FAT32 File System Specification", 1.03).

GRUB writes over a file in place, and so does Terra: what is found here stays where it is.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence

from attrs import frozen

_SECTOR = 512
_ENTRY = 32
_LONG_NAME = 0x0F
_DIRECTORY, _LABEL = 0x10, 0x08
_FREE, _LAST = 0xE5, 0x00
_CLUSTER = 0x0FFF_FFFF
_END = 0x0FFF_FFF8
_MOST_CLUSTERS = 4096
"""More than any directory or file has that is looked for here."""

Read = Callable[[int, int], bytes]
"""Gives the bytes at an offset, so many of them."""


class FatError(ValueError):
    """What is wrong with a file system, or that a file is not there, in words."""


@frozen
class Extent:
    """Bytes that lie one after the other.

    :param offset: where they begin in the partition.
    :param length: how many there are.
    """

    offset: int
    length: int


def extents_of(path: Sequence[str], read: Read) -> list[Extent]:
    """Return where a file lies, in the order of its content; what follows each other is one extent.

    :param path: its names from the top on, each at most eight letters or digits.
    :param read: reads the partition.
    :raises FatError: when there is no such file, or no FAT32.
    """
    system = _system(read)
    cluster = system.top
    size = 0
    for at, name in enumerate(path):
        last = at == len(path) - 1
        found = next((entry for entry in system.entries(cluster) if entry.name == name.upper()), None)
        if found is None or found.directory == last:
            raise FatError(f"there is no {'file' if last else 'directory'} /{'/'.join(path[: at + 1])}")
        cluster, size = found.cluster, found.size
    return system.extents(cluster, size)


@frozen
class _Entry:
    name: str
    directory: bool
    cluster: int
    size: int


@frozen(kw_only=True)
class _System:
    read: Read
    unit: int
    tables: int
    data: int
    top: int

    def entries(self, cluster: int) -> Iterator[_Entry]:
        for at in self._chain(cluster):
            content = self._bytes(self._place(at), self.unit)
            for offset in range(0, self.unit, _ENTRY):
                entry = content[offset : offset + _ENTRY]
                if entry[0] == _LAST:
                    return
                if entry[0] == _FREE or entry[11] & _LABEL:  # a part of a long name has all of these bits
                    continue
                name, extension = (part.decode("ascii", "replace").rstrip() for part in (entry[:8], entry[8:11]))
                high, low, size = struct.unpack("<20xH4xHI", entry)
                yield _Entry(
                    name=f"{name}.{extension}" if extension else name,
                    directory=bool(entry[11] & _DIRECTORY),
                    cluster=high << 16 | low,
                    size=size,
                )

    def extents(self, cluster: int, size: int) -> list[Extent]:
        found: list[Extent] = []
        left = size
        for at in self._chain(cluster) if size else ():
            length = min(left, self.unit)
            if found and found[-1].offset + found[-1].length == self._place(at):
                found[-1] = Extent(found[-1].offset, found[-1].length + length)
            else:
                found.append(Extent(self._place(at), length))
            left -= length
            if not left:
                return found
        if left:
            raise FatError("a file is shorter than its directory says")
        return found

    def _chain(self, cluster: int) -> Iterator[int]:
        seen: set[int] = set()
        while len(seen) < _MOST_CLUSTERS and cluster not in seen:
            if cluster < 2:
                raise FatError("a chain of clusters leads nowhere")
            seen.add(cluster)
            yield cluster
            (cluster,) = struct.unpack("<I", self._bytes(self.tables + 4 * cluster, 4))
            cluster &= _CLUSTER
            if cluster >= _END:
                return
        raise FatError("a chain of clusters has no end")

    def _place(self, cluster: int) -> int:
        return self.data + (cluster - 2) * self.unit

    def _bytes(self, offset: int, length: int) -> bytes:
        content = self.read(offset, length)
        if len(content) != length:
            raise FatError("it ends before what it says that it holds")
        return content


def _system(read: Read) -> _System:
    boot = read(0, _SECTOR)
    if len(boot) < _SECTOR or boot[510:] != b"\x55\xaa":
        raise FatError("there is no FAT32")
    sector, clusters, reserved, tables, root, _, _, small = struct.unpack_from("<HBHBHHBH", boot, 11)
    large, top = struct.unpack_from("<I4xI", boot, 36)
    if sector not in (512, 1024, 2048, 4096) or not clusters or not tables or root or small or not large:
        raise FatError("there is no FAT32")
    return _System(
        read=read,
        unit=sector * clusters,
        tables=sector * reserved,
        data=sector * (reserved + tables * large),
        top=top & _CLUSTER,
    )
