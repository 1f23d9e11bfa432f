"""What each disk of a machine starts: found by the file system of its root, read and written by the boot loader's plugin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from attrs import evolve, frozen

from terra_core.config.session import Session
from terra_core.errors import TerraError
from terra_core.hookspecs import Bootloader, StartChoice
from terra_core.system.disks import ESP, disk_of, partitions_of
from terra_core.system.process import run

_MEMBERS = "/sys/fs"


@frozen(kw_only=True)
class DiskStart:
    """What a disk starts by itself.

    :param disk: the disk.
    :param partition: its EFI system partition; ``None`` when it has none.
    :param choice: what it starts; ``None`` when that is not known, or could not be written.
    :param problem: why, in words.
    """

    disk: Path
    partition: Path | None = None
    choice: StartChoice | None = None
    problem: str = ""


@frozen
class MountedFilesystem:
    """The file system that is mounted at a place.

    :param uuid: its UUID.
    :param kind: its type, as mount(8) has it.
    :param source: the block device that was mounted.
    """

    uuid: str
    kind: str
    source: Path


def filesystem_at(root: Path) -> MountedFilesystem:
    """Return the file system that is mounted at a place.

    :raises TerraError: when none is, or findmnt(8) fails.
    """
    options = ["--noheadings", "--nofsroot", "--output", "UUID,FSTYPE,SOURCE"]
    uuid, kind, source = [*run(["findmnt", *options, "--target", root]).text.split(), "", "", ""][:3]
    if not source:
        raise TerraError(f"{root}: is on no file system that has a UUID and a device")
    return MountedFilesystem(uuid, kind, Path(source))


def start_disks(root: Path, systems: Path = Path(_MEMBERS)) -> tuple[DiskStart, ...]:
    """Return the disks that the file system of a mounted root is on, each with its EFI system partition; nothing is read yet.

    :param root: where the root is mounted.
    :param systems: where the kernel lists the members of file systems that are on several disks.
    :raises TerraError: when a program fails.
    """
    mounted = filesystem_at(root)
    found: dict[Path, DiskStart] = {}
    for name in members_of(mounted.uuid, mounted.source.resolve().name, systems):
        disk = disk_of(name)
        if disk is not None and disk not in found:
            esps = partitions_of(disk, ESP)
            found[disk] = DiskStart(disk=disk, partition=esps[0] if esps else None)
    return tuple(found.values())


def members_of(uuid: str, source: str, systems: Path) -> list[str]:
    """Return the kernel names of all devices of a mounted file system.

    :param source: the kernel name of the one that was mounted, which may be the only one.
    """
    found = {path.name for path in systems.glob(f"*/{uuid}/devices/*")} if uuid else set()
    return sorted({*found, source})


def read_starts(disks: Iterable[DiskStart], bootloader: Bootloader, session: Session) -> tuple[DiskStart, ...]:
    """Return some disks with what they start; a disk that does not say has a problem."""
    return tuple(_tried(disk, lambda partition: bootloader.read_choice(partition, session)) for disk in disks)


def write_starts(
    disks: Sequence[DiskStart], change: Callable[[StartChoice], StartChoice], bootloader: Bootloader, session: Session
) -> tuple[DiskStart, ...]:
    """Change what some disks start, one after the other.

    :param disks: from :func:`read_starts`. What cannot be read is not written.
    :param change: gives the new choice for the former one.
    :returns: the disks as they are now; one that could not be written has a problem.
    :raises TerraError: when none could be written.
    """

    def write(disk: DiskStart) -> DiskStart:
        former = disk.choice
        if former is None:
            return disk
        wanted = change(former)
        if wanted == former:
            return disk

        def action(partition: Path) -> StartChoice:
            bootloader.write_choice(partition, wanted, session)
            return wanted

        return _tried(disk, action)

    written = [write(disk) for disk in disks]
    if all(disk.choice is None for disk in written):
        told = "; ".join(disk.problem for disk in written) or "the root of the machine is on no partition of a disk"
        raise TerraError(
            f"what the machine starts by itself cannot be written: {told}", hint="choose a version in the boot menu by hand"
        )
    return tuple(written)


def _tried(disk: DiskStart, action: Callable[[Path], StartChoice]) -> DiskStart:
    if disk.partition is None:
        return evolve(disk, choice=None, problem=f"{disk.disk}: has no EFI system partition, where the boot loader keeps it")
    try:
        return evolve(disk, choice=action(disk.partition), problem="")
    except TerraError as error:
        return evolve(disk, choice=None, problem=error.message)
