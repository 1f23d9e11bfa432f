"""Formatting the disk of a group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

from terra_core.config.node import OS_LABEL, OWN, DiskGroup, Profile
from terra_core.config.problems import DocumentError
from terra_core.config.session import Session
from terra_core.config.structure import Problem
from terra_core.errors import CommandError, TerraError
from terra_core.hookspecs import CheckedGroup, Mount, PreparedGroup
from terra_core.system.formatting import attached, examine, require_blank, require_bytes, require_size
from terra_core.system.mount_options import GROWING, refused_options
from terra_core.system.mounts import mounted
from terra_core.system.process import run
from terra_core.system.progress import Event, Report
from terra_core.system.undo import Undo
from terra_ext4.kinds import Kind
from terra_ext4.roots import is_divided

GROUPS = "/run/terra/groups"
"""Where a machine mounts file systems whose directories it mounts elsewhere: not on a disk, so that no subvolume hides it."""

_STEP = "format"
_MKFS_SECONDS = 1800  # a large disk that is slow to discard
_RENEWAL_SECONDS = 120
_MODE = 0o755
_OF_MOUNT = frozenset({"auto", "comment", "defaults", "group", "owner", "user", "users"})
"""Options of mount(8) that the kernel does not know."""


def check(kind: Kind, group: DiskGroup, sizes: Sequence[int], session: Session) -> CheckedGroup:
    """Check what can be known before anything is written; return what fits, and what a user should know.

    :param sizes: the disk's size in bytes.
    :raises ConfigError: for what the group asks for and such a file system does not have.
    :raises TerraError: when the disk is too small, or a program is not installed.
    """
    refuse(kind, group, session)
    for disk, size in zip(group.disk, sizes, strict=True):
        require_bytes(disk.device, size, kind.least_bytes, kind.name)
    for program in (kind.mkfs, *kind.programs):
        run([program, "-V"])
    names = ", ".join(subvolume.name for subvolume in group.subvolumes)
    notes = (f"{kind.name} has no subvolumes: {names} will be directories of one file system",) if names else ()
    return CheckedGroup(capacity=sum(sizes), type=kind.name, notes=notes)


def refuse(kind: Kind, group: DiskGroup, session: Session) -> None:
    """Refuse what the group asks for and such a file system has not, saying what to use in its place.

    :raises ConfigError: with all of it.
    """
    found = [Problem(f'group "{group.label}": {problem.path}', problem.text) for problem in _problems(kind, group)]
    if found:
        raise DocumentError(session.source, found)


def _problems(kind: Kind, group: DiskGroup) -> Iterator[Problem]:
    instead = 'filesystem = "btrfs" for this group'
    if group.type is not Profile.SINGLE:
        yield Problem("type", f'{kind.name} has no {group.type.value}: say {instead}, or name one disk and type = "single"')
    elif len(group.disk) > 1:
        yield Problem("disk", f"{kind.name} is on one disk, and {len(group.disk)} are named: name one, or say {instead}")
    if group.compression:
        yield Problem("compression", f"{kind.name} compresses nothing: leave it out, or say {instead}")
    if len(group.label) > kind.longest_label:
        long, most = len(group.label), kind.longest_label
        yield Problem("label", f"{kind.name} takes at most {most} characters, and this has {long}: choose a shorter one")
    yield from (Problem("options", reason) for reason in refused_options(kind.name, group.options))


@contextmanager
def prepare(kind: Kind, group: DiskGroup, devices: Sequence[Path], work: Path, report: Report) -> Iterator[PreparedGroup]:
    """Format the disk as ``group`` says, make its directories, and keep the disk attached until the end.

    :param devices: the one disk.
    :param work: an empty directory to mount in.
    :raises TerraError: when the disk may not be written to, or the tools fail.
    """
    disks = examine(devices)
    require_size(disks, kind.least_bytes, kind.name)
    require_blank(disks)
    report(Event(_STEP, f'formatting group "{group.label}": {kind.name}'))
    uuid = uuid4()
    with attached(disks) as (device,):
        _make(kind, group, uuid, device, disks[0].name)
        _make_directories(kind, group, device, work)
        yield _prepared(kind, group, device, uuid)


@contextmanager
def renew(kind: Kind, group: DiskGroup, devices: Sequence[Path], work: Path) -> Iterator[PreparedGroup]:
    """Give a copy of the group's disk a UUID of its own, and keep it attached until the end.

    :param devices: the one disk.
    :param work: an empty directory to mount in.
    :raises TerraError: when the disk is in use, or holds no such file system.
    """
    disks, uuid = examine(devices), uuid4()
    with attached(disks) as (device,):
        try:
            run(kind.renewal(uuid, device), timeout=_RENEWAL_SECONDS)
        except CommandError as error:
            text = f'group "{group.label}": {disks[0].name} gets no UUID of its own: {error.message}'
            raise TerraError(text, hint=error.hint) from error
        undivided = group.label == OS_LABEL and not _looks_divided(kind, device, work)
        yield _prepared(kind, group, device, uuid, undivided=undivided)


def _looks_divided(kind: Kind, device: Path, work: Path) -> bool:
    """Return whether the roots of a file system are directories, after a look that writes nothing to it."""
    with _opened(kind, device, work, ("ro", "norecovery")) as top:
        return is_divided(top)


def _prepared(kind: Kind, group: DiskGroup, device: Path, uuid: UUID, *, undivided: bool = False) -> PreparedGroup:
    system = group.label == OS_LABEL
    return PreparedGroup(
        mounts=mounts_of(kind, group, device, uuid, undivided=undivided),
        kernel_arguments=kernel_arguments_of(group, uuid, undivided=undivided) if system else (),
        directories=tuple(subvolume.path for subvolume in group.subvolumes) if undivided else (),
        root=OS_LABEL if system and not undivided else "",
    )


def mounts_of(
    kind: Kind, group: DiskGroup, device: Path, uuid: UUID, *, undivided: bool = False
) -> tuple[Mount, ...]:
    """Return every mount of a group.

    The root of the machine is a directory of the group of the operating system. A group that has subvolumes is mounted at a
    place of its own, and its directories from there at their paths.

    :param uuid: of its file system.
    :param undivided: whether the group of the operating system is the machine's root as a whole, with its subvolumes as
        directories of the root, as an earlier Terra made it.
    """
    source = f"UUID={uuid}"
    own = (*group.options, *([GROWING] if group.may_grow else []))
    root: tuple[Mount, ...] = ()
    if group.label == OS_LABEL:
        name = "" if undivided else OS_LABEL
        root = (Mount(path="/", device=device, filesystem=kind.name, options=own, source=source, directory=name),)
        own = group.options
    if undivided or not group.subvolumes:
        return root
    place = f"{GROUPS}/{group.label}"
    # /run is empty when a machine starts, and not every init makes the directories of its mounts.
    options = (*own, "X-mount.mkdir")
    whole = Mount(path=place, device=device, filesystem=kind.name, options=options, source=source)
    directories = [(subvolume.path, f"{place}/{subvolume.name}") for subvolume in group.subvolumes]
    return (
        *root,
        whole,
        *(
            Mount(path=path, device=device, filesystem="none", source=directory, bound=directory)
            for path, directory in directories
        ),
    )


def kernel_arguments_of(group: DiskGroup, uuid: UUID, *, undivided: bool = False) -> tuple[str, ...]:
    """Return what a machine finds its root by; some options, such as quotas of xfs, count from the first mount on only."""
    options = [option for option in group.options if option.partition("=")[0] not in _OF_MOUNT]
    words = [f"terra.uuid={uuid}", *([] if undivided else [f"terra.subvol={OS_LABEL}"])]
    return (*words, *([f"rootflags={','.join(options)}"] if options else []))


def _make(kind: Kind, group: DiskGroup, uuid: UUID, device: Path, name: Path) -> None:
    try:
        run(kind.command(group.label, uuid, device), timeout=_MKFS_SECONDS)
    except CommandError as error:
        raise TerraError(f'group "{group.label}" cannot be made on {name}: {error.message}', hint=error.hint) from error


def _make_directories(kind: Kind, group: DiskGroup, device: Path, work: Path) -> None:
    system = group.label == OS_LABEL
    names = [*([OS_LABEL] if system else []), *(subvolume.name for subvolume in group.subvolumes)]
    if not names:
        return
    with _opened(kind, device, work, group.options) as top:
        for name in names:
            (top / name).mkdir()
            # Independent of the caller's umask: the machine's other users have to pass.
            (top / name).chmod(_MODE)
        # The machine mounts all of it at a place of its own; nobody but root shall reach other versions by that way.
        top.chmod(0o700)
        if system:
            (top / OWN).mkdir(mode=0o700)


@contextmanager
def _opened(kind: Kind, device: Path, work: Path, options: Sequence[str]) -> Iterator[Path]:
    top = work / "top"
    top.mkdir()
    with Undo() as undo:
        undo.callback(top.rmdir)
        yield undo.enter_context(mounted(device, top, filesystem=kind.name, options=options))
