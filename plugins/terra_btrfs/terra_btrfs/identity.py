"""The identity of a file system whose disks were copied from another's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from terra_btrfs.disks import Disk, examine
from terra_btrfs.groups import attached
from terra_btrfs.superblock import Identity, identity_of
from terra_core.errors import TerraError
from terra_core.system.locks import locked
from terra_core.system.process import run

_TUNE_SECONDS = 120
_LOCK_SECONDS = 300


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
    found = {disk: identity_of(disk.path, disk.name) for disk in disks}
    first = found[disks[0]]
    for disk, identity in found.items():
        if identity != first:
            raise TerraError(f"{disk.name}: does not belong to the file system of {disks[0].name}")
    if first.disks != len(disks):
        raise TerraError(f"{disks[0].name}: its file system has {first.disks} disks, and {len(disks)} were named")
    return first


@contextmanager
def _alone(run_directory: Path) -> Iterator[None]:
    run_directory.mkdir(parents=True, exist_ok=True)
    with locked(run_directory / "btrfs.lock", seconds=_LOCK_SECONDS):
        yield
