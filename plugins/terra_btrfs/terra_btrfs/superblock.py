"""Which file system a disk belongs to, as its superblock says (btrfs(5) and the kernel's ``btrfs_tree.h``)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from uuid import UUID

from attrs import frozen

from terra_core.errors import TerraError

_SUPERBLOCK = 64 * 1024
_COPIES = (_SUPERBLOCK, 64 << 20, 256 << 30)
_LENGTH = 0x1000
_MAGIC = b"_BHRfS_M"
_CHECKSUM_BYTES = 32
_FSID, _INCOMPATIBLE, _CHECKSUM_TYPE, _METADATA_UUID = 0x20, 0xBC, 0xC4, 0x23B
_HAS_METADATA_UUID = 1 << 10
_CHANGING = 1 << 35 | 1 << 36
"""Flags of a file system whose UUID a program that was killed had begun to change (``CHANGING_FSID``, ``CHANGING_FSID_V2``)."""


@frozen
class Identity:
    """What the superblock says of a file system.

    :param fsid: the file system that the disk belongs to; what blkid(8), mount(8) and GRUB call its UUID.
    :param disks: how many disks that has.
    """

    fsid: UUID
    disks: int

    @property
    def source(self) -> str:
        """The file system as fstab(5) names it.

        A label could name another file system: that of an earlier installation on another disk, or on the former local disk of
        a machine whose disks are on the network now.
        """
        return f"UUID={self.fsid}"

    @property
    def kernel_arguments(self) -> tuple[str, ...]:
        """The kernel arguments that tell the script ``boot=terra`` which file system holds the root."""
        return (f"terra.uuid={self.fsid}",)


def parse_superblock(data: bytes) -> Identity | None:
    """Return the identity in the first copy of a superblock; ``None`` when this is no superblock."""
    if len(data) < 0x90 or data[0x40:0x48] != _MAGIC:
        return None
    return Identity(UUID(bytes=data[0x20:0x30]), int.from_bytes(data[0x88:0x90], "little"))


def identity_of(disk: Path, name: Path) -> Identity:
    """Return the identity of the file system on a block device or image file.

    :param name: what the disk is called in an error.
    :raises TerraError: when there is no btrfs file system on it.
    """
    with disk.open("rb") as opened:
        opened.seek(_SUPERBLOCK)
        identity = parse_superblock(opened.read(0x1000))
    if identity is None:
        raise TerraError(f"{name}: holds no btrfs file system")
    return identity


def renewed(data: bytes, fsid: UUID) -> bytes:
    """Return a superblock with another UUID of its file system.

    The blocks of the trees carry the UUID that the file system was made with, which goes on as its metadata UUID, as
    ``btrfstune -m`` has it; kernels from 5.0 on know that.

    :raises ValueError: when this is no superblock that can be changed: the reason.
    """
    if parse_superblock(data) is None:
        raise ValueError("holds no btrfs file system")
    if int.from_bytes(data[_CHECKSUM_TYPE : _CHECKSUM_TYPE + 2], "little") != 0:
        raise ValueError("its btrfs has other checksums than crc32c")
    if data[:4] != crc32c(data[_CHECKSUM_BYTES:]).to_bytes(4, "little"):
        raise ValueError("the superblock of its btrfs is damaged")
    flags = int.from_bytes(data[_INCOMPATIBLE : _INCOMPATIBLE + 8], "little")
    if flags & _CHANGING:
        raise ValueError("somebody had begun to change the UUID of its btrfs: btrfstune(8) ends that")
    block = bytearray(data)
    if not flags & _HAS_METADATA_UUID:
        block[_METADATA_UUID : _METADATA_UUID + 16] = data[_FSID : _FSID + 16]
    block[_FSID : _FSID + 16] = fsid.bytes
    block[_INCOMPATIBLE : _INCOMPATIBLE + 8] = (flags | _HAS_METADATA_UUID).to_bytes(8, "little")
    block[:4] = crc32c(bytes(block[_CHECKSUM_BYTES:])).to_bytes(4, "little")
    return bytes(block)


def renew_superblocks(disks: Sequence[tuple[Path, Path]], fsid: UUID) -> Identity:
    """Give the file system on all of these disks another UUID; nothing else of it is read or written.

    btrfstune(8) would look for the disks by the former UUID, and could find those of another copy.

    :param disks: each block device or image file, with what it is called in an error.
    :raises TerraError: when one of them is not of this file system; nothing is written then.
    """
    blocks: list[tuple[Path, int, bytes]] = []
    made: set[bytes] = set()
    for disk, name in disks:
        with disk.open("rb") as opened:
            size = opened.seek(0, os.SEEK_END)
            for at in (at for at in _COPIES if at + _LENGTH <= size):
                opened.seek(at)
                data = opened.read(_LENGTH)
                if at != _SUPERBLOCK and parse_superblock(data) is None:
                    continue  # the disk was smaller when the file system was made
                try:
                    blocks.append((disk, at, renewed(data, fsid)))
                except ValueError as error:
                    raise TerraError(f"{name}: {error}") from None
                made.add(data[_FSID : _FSID + 16])
    identity = identity_of(*disks[0])
    if len(made) != 1 or identity.disks != len(disks):
        names = ", ".join(str(name) for _, name in disks)
        raise TerraError(f"{names}: are not all the disks of one btrfs file system")
    for disk, at, block in blocks:
        with disk.open("r+b") as opened:
            opened.seek(at)
            opened.write(block)
    return Identity(fsid, identity.disks)


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of RFC 3720 section 12.1."""
    table, value = _table(), 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ table[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF


@cache
def _table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)  # each bit in turn
        table.append(value)
    return tuple(table)
