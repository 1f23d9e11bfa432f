"""Which file system a disk belongs to, as its superblock says (btrfs(5) and the kernel's ``btrfs_tree.h``)."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

from attrs import frozen

from terra_core.errors import TerraError

_SUPERBLOCK = 64 * 1024
_MAGIC = b"_BHRfS_M"


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
