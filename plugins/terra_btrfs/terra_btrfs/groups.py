"""Formatting a disk group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from terra_btrfs.profiles import capacity, least_bytes, metadata_profile, warning
from terra_btrfs.settings import Settings
from terra_btrfs.superblock import Identity, identity_of, renew_superblocks
from terra_core.config.node import OS_LABEL, DiskGroup
from terra_core.errors import CommandError, TerraError
from terra_core.hookspecs import CheckedGroup, Mount, PreparedGroup
from terra_core.system.formatting import Disk, attached, examine, require_blank, require_bytes, require_size
from terra_core.system.mount_options import GROWING, refused_options
from terra_core.system.mounts import mounted
from terra_core.system.process import run, uninterrupted
from terra_core.system.progress import Event, Report
from terra_core.system.undo import Undo

_KIND = "btrfs"
_STEP = "format"
_MKFS_SECONDS = 1800  # a large disk that is slow to discard
_ROOT_MODE = 0o755


def check(group: DiskGroup, sizes: Sequence[int]) -> CheckedGroup:
    """Check what can be known before anything is written; return what fits, and what a user should know.

    :param sizes: the disks' sizes in bytes, in the order of ``group.disk``.
    :raises TerraError: when a disk is too small, a mount option is none of btrfs's, or mkfs.btrfs(8) is not installed.
    """
    least = least_bytes(group.type, len(sizes))
    for disk, size in zip(group.disk, sizes, strict=True):
        require_bytes(disk.device, size, least, _KIND)
    for reason in refused_options(_KIND, group.options):
        raise TerraError(f'group "{group.label}": options: {reason}')
    for program in ("mkfs.btrfs", "btrfs"):
        run([program, "--version"])
    notes = tuple(text for text in [warning(group.type)] if text)
    return CheckedGroup(capacity=capacity(group.type, sizes), type=_KIND, notes=notes)


@contextmanager
def prepare(
    group: DiskGroup, devices: Sequence[Path], work: Path, settings: Settings, report: Report
) -> Iterator[PreparedGroup]:
    """Format ``devices`` as ``group`` says, make its subvolumes, and keep the devices attached until the end.

    :param work: an empty directory to mount in.
    :raises TerraError: when a disk may not be written to, or the tools fail.
    """
    disks = examine(devices)
    require_size(disks, least_bytes(group.type, len(disks)), _KIND)
    require_blank(disks)
    for text in filter(None, [warning(group.type)]):
        report(Event(_STEP, f'warning: group "{group.label}": {text}'))
    report(Event(_STEP, f'formatting group "{group.label}": btrfs, {group.type.value}, {_counted(len(disks))}'))
    with scanned(disks) as nodes:
        _make(group, nodes, disks)
        _make_subvolumes(group, nodes[0], work)
        yield _prepared(group, nodes[0], identity_of(nodes[0], disks[0].name), settings)


@contextmanager
def renew(group: DiskGroup, devices: Sequence[Path], settings: Settings) -> Iterator[PreparedGroup]:
    """Give copies of a group's disks a UUID of their own, and keep them attached until the end.

    :raises TerraError: when a disk is in use, or holds no such file system.
    """
    disks = examine(devices)
    # Before the kernel sees the disks: it would take them for those that they are copies of, which may be attached elsewhere.
    identity = renew_superblocks([(disk.path, disk.name) for disk in disks], uuid4())
    with scanned(disks) as nodes:
        run(["btrfs", "device", "scan", *nodes])
        yield _prepared(group, nodes[0], identity, settings)


def _prepared(group: DiskGroup, device: Path, identity: Identity, settings: Settings) -> PreparedGroup:
    return PreparedGroup(
        mounts=mounts_of(group, device, identity, settings),
        kernel_arguments=identity.kernel_arguments if group.label == OS_LABEL else (),
        root=OS_LABEL if group.label == OS_LABEL else "",
    )


@contextmanager
def scanned(disks: Sequence[Disk]) -> Iterator[tuple[Path, ...]]:
    """Offer the block device of each disk, and have the kernel forget their file systems at the end.

    Otherwise the kernel would take the next user of a loop device for this file system.
    """
    with attached(disks) as nodes, Undo() as undo:
        undo.callback(_forget, nodes)
        yield nodes


def reading_options(device: Path) -> tuple[str, ...]:
    """Return the mount options by which a group is read of which one disk is known, and others may be away.

    :param device: that disk, or a partition of it.
    :raises TerraError: when it holds no such file system.
    """
    fsid = identity_of(device, device).fsid
    words = ["blkid", "--cache-file", "/dev/null", "--match-token", f"UUID={fsid}", "--output", "device"]
    members = run(words, accept=(0, 2)).text.split()
    return ("degraded", *(f"device={path}" for path in members if path != str(device)))


def mounts_of(group: DiskGroup, device: Path, identity: Identity, settings: Settings) -> tuple[Mount, ...]:
    """Return every mount of a group: the system's root for the group of the operating system, then its subvolumes.

    :param device: one of its disks.
    :param identity: the file system that was made on them.
    """
    places = [(OS_LABEL, "/")] if group.label == OS_LABEL else []
    places += [(subvolume.name, subvolume.path) for subvolume in group.subvolumes]
    compression = group.compression or settings.compression
    common = (*([f"compress={compression}"] if compression else []), *group.options)
    return tuple(
        Mount(
            path=path,
            device=device,
            filesystem="btrfs",
            options=(f"subvol=/{name}", *common, *([GROWING] if group.may_grow and at == 0 else [])),
            source=identity.source,
        )
        for at, (name, path) in enumerate(places)
    )


def mkfs_arguments(group: DiskGroup, nodes: Sequence[Path]) -> list[str]:
    """Return the command that formats the group; without ``--force``, so that mkfs refuses a signature written meanwhile."""
    metadata = metadata_profile(group.type, len(nodes))
    profiles = ["--data", group.type.value, "--metadata", metadata]
    return ["mkfs.btrfs", "--quiet", "--label", group.label, *profiles, *map(str, nodes)]


def _make(group: DiskGroup, nodes: Sequence[Path], disks: Sequence[Disk]) -> None:
    try:
        run(mkfs_arguments(group, nodes), timeout=_MKFS_SECONDS)
        run(["btrfs", "device", "scan", *nodes])
    except CommandError as error:
        names = ", ".join(str(disk.name) for disk in disks)
        raise TerraError(f'group "{group.label}" cannot be made on {names}: {error.message}', hint=error.hint) from error


def _make_subvolumes(group: DiskGroup, device: Path, work: Path) -> None:
    names = [OS_LABEL] if group.label == OS_LABEL else []
    names += [subvolume.name for subvolume in group.subvolumes]
    if not names:
        return
    top = work / "top"
    top.mkdir()
    with Undo() as undo:
        undo.callback(top.rmdir)
        undo.enter_context(mounted(device, top, filesystem="btrfs", options=("subvolid=5",)))
        for name in names:
            run(["btrfs", "subvolume", "create", top / name])
            # Independent of the caller's umask: the machine's other users have to pass.
            (top / name).chmod(_ROOT_MODE)


def _forget(nodes: Sequence[Path]) -> None:
    with uninterrupted():
        run(["btrfs", "device", "scan", "--forget", *nodes], accept=(0, 1))


def _counted(disks: int) -> str:
    return "1 disk" if disks == 1 else f"{disks} disks"
