"""The identity of a file system whose disks were copied from another's."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from attrs import frozen

from terra_btrfs.disks import Disk, examine
from terra_btrfs.groups import attached
from terra_core.errors import TerraError
from terra_core.system.process import run
from terra_core.system.waiting import wait_until

_SUPERBLOCK = 64 * 1024
_MAGIC = b"_BHRfS_M"
_TUNE_SECONDS = 120
_LOCK_SECONDS = 300


@frozen
class Identity:
    """What the superblock says of a file system (its layout: btrfs(5) and the kernel's ``btrfs_tree.h``).

    :param fsid: the file system that the disk belongs to.
    :param disks: how many disks that has.
    """

    fsid: UUID
    disks: int


def parse_superblock(data: bytes) -> Identity | None:
    """The identity in the first copy of a superblock, or nothing when this is none."""
    if len(data) < 0x90 or data[0x40:0x48] != _MAGIC:
        return None
    return Identity(UUID(bytes=data[0x20:0x30]), int.from_bytes(data[0x88:0x90], "little"))


def renew(devices: Sequence[Path], run_directory: Path) -> bool:
    """Give the file system on ``devices`` a new fsid, by metadata_uuid (btrfstune(8)): nothing else is rewritten.

    :param devices: all disks of one file system.
    :param run_directory: where the lock is kept; copies of one original must not be attached side by side meanwhile.
    :returns: that something was changed, which it always is.
    :raises TerraError: when they are not the disks of one btrfs file system, or one is in use.
    """
    with _alone(run_directory):
        disks = examine(devices)
        before = _common_identity(disks)
        with attached(disks) as nodes:
            if len(nodes) > 1:
                run(["btrfs", "device", "scan", *nodes])
            run(["btrfstune", "-f", "-m", nodes[0]], timeout=_TUNE_SECONDS)
        if _common_identity(disks).fsid == before.fsid:
            raise TerraError(f"{devices[0]}: btrfstune gave its file system no new identity")
    return True


def _common_identity(disks: Sequence[Disk]) -> Identity:
    found = {disk: _identity(disk) for disk in disks}
    first = found[disks[0]]
    for disk, identity in found.items():
        if identity != first:
            raise TerraError(f"{disk.name}: does not belong to the file system of {disks[0].name}")
    if first.disks != len(disks):
        raise TerraError(f"{disks[0].name}: its file system has {first.disks} disks, and {len(disks)} were named")
    return first


def _identity(disk: Disk) -> Identity:
    with disk.path.open("rb") as opened:
        opened.seek(_SUPERBLOCK)
        identity = parse_superblock(opened.read(0x1000))
    if identity is None:
        raise TerraError(f"{disk.name}: holds no btrfs file system")
    return identity


@contextmanager
def _alone(run_directory: Path) -> Iterator[None]:
    run_directory.mkdir(parents=True, exist_ok=True)
    path = run_directory / "btrfs.lock"
    with path.open("ab") as lock:

        def locked() -> bool:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        wait_until(locked, seconds=_LOCK_SECONDS, what=f"the lock {path}")
        yield
