"""The two kinds of file systems, made without features that a boot loader or an older system cannot read.

A machine's image has a kernel, a file system check and a boot loader of its own release, which may be older than the tools
that format its disk. So the features are named, whatever the defaults of mke2fs.conf(5) or of a later mkfs.xfs(8) are. GRUB
2.06 reads all of them: of the incompatible ones, its drivers know ext4's ``filetype``, ``extent``, ``64bit`` and ``flex_bg``,
and ``ftype``, ``sparse`` and ``bigtime`` of xfs, but no ``nrext64``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import UUID

from attrs import frozen

from terra_core.system.process import run

_MB = 1024 * 1024
_EXT4_FEATURES = (
    "none", "has_journal", "ext_attr", "resize_inode", "dir_index", "filetype", "extent", "64bit", "flex_bg", "sparse_super",
    "large_file", "huge_file", "dir_nlink", "extra_isize", "metadata_csum",
)  # fmt: skip
"""Those of e2fsprogs 1.43 to 1.46, whose e2fsck takes no file system with ``orphan_file`` or ``metadata_csum_seed``."""
_XFS_METADATA = "crc=1,finobt=1,rmapbt=0,reflink=1,inobtcount=1,bigtime=1"
_XFS_INODES = "sparse=1,nrext64=0"
_XFS_LATER = {"exchange": "-i", "parent": "-n"}
"""Incompatible features that a later mkfs.xfs takes by itself, and an earlier one does not know, with their option."""


@frozen(kw_only=True)
class Kind:
    """A kind of file system.

    :param name: its type, as mount(8) has it.
    :param mkfs: the program that makes it.
    :param longest_label: how long its label may be, in bytes.
    :param least_bytes: the size below which a disk is refused.
    :param programs: programs of this machine that repair it when a machine starts.
    :param command: gives the command that makes it, from label, UUID and device.
    :param renewal: gives the command that gives a copy another UUID, from UUID and device.
    :param shares: whether copies of files share their blocks (ioctl_ficlone(2)).
    """

    name: str
    mkfs: str
    longest_label: int
    least_bytes: int
    programs: tuple[str, ...] = ()
    command: Callable[[str, UUID, Path], Sequence[str]]
    renewal: Callable[[UUID, Path], Sequence[str]]
    shares: bool = False


def ext4_command(label: str, uuid: UUID, device: Path) -> list[str]:
    """Return the command that makes an ext4 file system (mke2fs(8)); it turns read-only when it finds itself broken."""
    layout = ["-O", ",".join(_EXT4_FEATURES), "-b", "4096", "-I", "256", "-e", "remount-ro"]
    return ["mkfs.ext4", "-q", *layout, "-L", label, "-U", str(uuid), str(device)]


def ext4_renewal(uuid: UUID, device: Path) -> list[str]:
    """Return the command that gives a copy of an ext4 file system another UUID (tune2fs(8)).

    Its checksums begin with the UUID that it was made with, which is kept as their seed: all metadata would be written anew
    otherwise. A clone has ``metadata_csum_seed`` for that: no boot loader reads the disk of a machine without one.
    """
    return ["tune2fs", "-O", "metadata_csum_seed", "-U", str(uuid), str(device)]


def xfs_renewal(uuid: UUID, device: Path) -> list[str]:
    """Return the command that gives a copy of an xfs file system another UUID (xfs_admin(8)); it writes the log anew."""
    return ["xfs_admin", "-U", str(uuid), str(device)]


def xfs_command(label: str, uuid: UUID, device: Path, usage: str = "") -> list[str]:
    """Return the command that makes an xfs file system; without ``-f``, so that it refuses what came to be there meanwhile.

    :param usage: what the installed mkfs.xfs(8) says that it takes.
    """
    later = [word for name, option in _XFS_LATER.items() if f"{name}=0|1" in usage for word in (option, f"{name}=0")]
    features = ["-m", f"{_XFS_METADATA},uuid={uuid}", "-i", _XFS_INODES, *later]
    return ["mkfs.xfs", "-q", *features, "-L", label, str(device)]


def _xfs(label: str, uuid: UUID, device: Path) -> list[str]:
    return xfs_command(label, uuid, device, run(["mkfs.xfs"], accept=(1,)).stderr.decode(errors="replace"))


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            name="ext4",
            mkfs="mkfs.ext4",
            longest_label=16,
            least_bytes=16 * _MB,
            programs=("e2fsck",),
            command=ext4_command,
            renewal=ext4_renewal,
        ),
        Kind(
            name="xfs",
            mkfs="mkfs.xfs",
            longest_label=12,
            least_bytes=300 * _MB,
            command=_xfs,
            renewal=xfs_renewal,
            shares=True,
        ),
    )
}
"""Both, by name."""
