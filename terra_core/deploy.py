"""From prepared disks to a machine's system: disks formatted and mounted, the image applied, its identity written."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from attrs import evolve, frozen

from terra_core.config.node import OS_LABEL, DiskGroup, Node
from terra_core.config.session import Session
from terra_core.config.values import Hostname
from terra_core.errors import CommandError, ConfigError, InterruptedWork, TerraError
from terra_core.fitness import BOOT, Fit, fit_of_root
from terra_core.hookspecs import Filesystem, Mount, PreparedGroup
from terra_core.identity import render_hosts
from terra_core.image.apply import Applied, apply_layers
from terra_core.image.contained import ContainedRoot
from terra_core.image.room import room_in
from terra_core.mounting import in_order, make_mounts, render_fstab
from terra_core.oci.faults import shown
from terra_core.oci.source import ImageSource
from terra_core.plugins import Plugins
from terra_core.system.disks import cannot_grow, file_behind
from terra_core.system.namespaces import private_mounts
from terra_core.system.process import run
from terra_core.system.progress import Event
from terra_core.system.reading import lines_of, salvaged
from terra_core.system.undo import Undo
from terra_core.uniqueness import make_unique

_KERNEL_LIMIT = 256 * 1024 * 1024
_FILE_LIMIT = 16 * 1024 * 1024
_SHOWN = 8
_SYNC_SECONDS = 3600
_INITRD_LIMIT = 2048 * 1024 * 1024


OpenImage = Callable[[Path], AbstractContextManager[ImageSource]]
"""Opens an image, given a place on the disks that it goes to for what has to be downloaded: a path that is not there yet."""


@frozen(kw_only=True)
class Deployed:
    """A system that was laid down.

    :param applied: what the image's layers came to.
    :param kernel_arguments: what the kernel line needs to find the root.
    :param kernel: a copy of the image's kernel; ``None`` when it has none.
    :param initrd: a copy of the initial RAM disk that belongs to it.
    """

    applied: Applied
    kernel_arguments: tuple[str, ...]
    kernel: Path | None
    initrd: Path | None


@frozen(kw_only=True)
class _Group:
    """A disk group that is formatted.

    :param group: its entry in the file.
    :param filesystem: the plugin that formatted it.
    :param prepared: what that said.
    """

    group: DiskGroup
    filesystem: Filesystem
    prepared: PreparedGroup

    def moved(self, places: Mapping[str, str]) -> _Group:
        """The same group, mounted where links of the image lead."""
        mounts = tuple(evolve(mount, path=places.get(mount.path, mount.path)) for mount in self.prepared.mounts)
        return evolve(self, prepared=evolve(self.prepared, mounts=mounts))


@frozen(kw_only=True)
class Standing:
    """A system that is laid down and on its disks, while it is still mounted.

    :param root: where the machine's root is mounted.
    :param inside: the same, safe against what the image holds.
    :param mounts: all of its mounts.
    :param kernel: the path of its kernel in the root; empty when it has none.
    :param initrd: the path of the initial RAM disk that belongs to it.
    :param kernel_arguments: what the kernel line needs to find the root.
    :param place: the path of the root within its file system, without a leading slash.
    """

    root: Path
    inside: ContainedRoot
    mounts: tuple[Mount, ...]
    kernel: str
    initrd: str
    kernel_arguments: tuple[str, ...]
    place: str
    _groups: tuple[_Group, ...]
    _session: Session

    def sync(self) -> None:
        """Have all of it on the disks.

        :raises TerraError: naming the disk that does not take it.
        """
        for one in self._groups:
            for mount in one.prepared.mounts[:1]:
                place = self.root / mount.path.lstrip("/")
                _sync(place, mount)
                one.filesystem.verify_disks(one.group, place, self._session)


def deploy(
    node: Node,
    image: OpenImage,
    disks: Mapping[str, Sequence[Path]],
    *,
    plugins: Plugins,
    session: Session,
    work: Path,
    fit: Fit | None = None,
    finish: Callable[[Standing], None] | None = None,
) -> Deployed:
    """Lay an image down on the disks of a machine.

    Nothing is mounted when it returns or fails, and all of it is on the disks when it returns. Nobody else sees the mounts.

    :param node: the machine; every check of its file has been made.
    :param image: opens the image when the disks are ready.
    :param disks: block devices or image files by the label of their group, in the order of the group's disks.
    :param work: an empty directory for mounts and for the copies of kernel and initrd; the caller removes it.
    :param fit: how the machine starts from the image, where that was looked at before; looked at in the root when left out.
    :param finish: does what is left to do when all of it is on the disks, before it is unmounted.
    :raises TerraError: naming the step, the device or the entry.
    """
    root = work / "root"
    root.mkdir()
    with _naming_a_full_disk(disks), private_mounts(), Undo() as stack:
        groups = [one.moved(fit.places if fit else {}) for one in _prepare(node, disks, stack, plugins, session, work)]
        mounts = in_order([mount for one in groups for mount in one.prepared.mounts])
        make_mounts(mounts, root, stack)
        with room_in(root) as room, image(room) as source:
            applied = apply_layers(source, root, report=session.report, spared=room.name)
        session.report(Event("identity", f"write the identity of {node.hostname}"))
        with ContainedRoot(root) as inside:
            for text in (*_write_identity(inside, node.hostname, mounts), *make_unique(inside)):
                session.report(Event("identity", text))
            boots = fit or fit_of_root(inside, whole=finish is not None)
            standing = Standing(
                root=root,
                inside=inside,
                mounts=tuple(mounts),
                kernel=boots.kernel,
                initrd=boots.initrd,
                kernel_arguments=(f"boot={BOOT}", *(argument for one in groups for argument in one.prepared.kernel_arguments)),
                place="".join(one.prepared.root for one in groups if one.group.label == OS_LABEL),
                groups=tuple(groups),
                session=session,
            )
            copies = _copy_kernel(standing, work) if finish is None else (None, None)
            session.report(Event("sync", "write everything to the disks"))
            standing.sync()
            if finish is not None:
                finish(standing)
    return Deployed(applied=applied, kernel_arguments=standing.kernel_arguments, kernel=copies[0], initrd=copies[1])


def filesystem_of(group: DiskGroup, node: Node, plugins: Plugins, *, source: str) -> Filesystem:
    """The filesystem plugin of a group: its own, or the one of the file.

    :param source: the file, for errors.
    :raises TerraError: as :meth:`Plugins.fill` does.
    """
    chosen = {**node.plugins, "filesystem": group.filesystem} if group.filesystem else node.plugins
    return plugins.fill(Filesystem, chosen, source=source)


def _prepare(
    node: Node, disks: Mapping[str, Sequence[Path]], stack: ExitStack, plugins: Plugins, session: Session, work: Path
) -> list[_Group]:
    prepared = []
    for group in node.groups:
        filesystem = filesystem_of(group, node, plugins, source=session.source)
        own = work / f"group-{group.label}"
        own.mkdir()
        session.report(Event("format", f"format {group.label}: {group.type.value} on {len(group.disk)} disk(s)"))
        answer = stack.enter_context(filesystem.prepare_disks(group, disks[group.label], own, session))
        prepared.append(_Group(group=group, filesystem=filesystem, prepared=answer))
    return prepared


@contextmanager
def _naming_a_full_disk(disks: Mapping[str, Sequence[Path]]) -> Iterator[None]:
    """Say it when the disk is full that a machine's disk is a file on; else the errors of its file system are all there is.

    :param disks: block devices or image files, by the label of their group.
    """
    try:
        yield
    except (InterruptedWork, ConfigError):
        raise
    except (TerraError, OSError) as error:
        for file in filter(None, (file_behind(device) for devices in disks.values() for device in devices)):
            if cannot_grow(file):
                told = error.message if isinstance(error, TerraError) else str(error)
                message = f"{file}: the disk that it is on is full"
                raise TerraError(message, hint=f"make room there, and begin again; what failed was: {told}") from error
        raise


def _sync(place: Path, mount: Mount) -> None:
    """Unmounting says nothing of writes that failed, such as those to a file on a full disk."""
    try:
        run(["sync", "--file-system", place], timeout=_SYNC_SECONDS)
    except CommandError as error:
        raise TerraError(
            f"{mount.device}: not all could be written to it: {lines_of(error.message)[-1]}",
            hint="it is broken, or the disk that its file is on is full",
        ) from error


def _write_identity(inside: ContainedRoot, hostname: Hostname, mounts: Sequence[Mount]) -> Iterator[str]:
    """Write what makes the machine itself; gives what of the image had to go for that, a line each."""
    hosts = inside.read_small("etc/hosts", limit=_FILE_LIMIT)
    found = inside.look("etc/hosts")
    if found is not None and (not stat.S_ISREG(found.st_mode) or len(hosts) < found.st_size):
        yield "warning: /etc/hosts of the image is no file that can be kept: it is replaced"
    dropped = [line.split()[:2] for line in inside.read_small("etc/fstab", limit=_FILE_LIMIT).split(b"\n")]
    entries = [b" at ".join(words) for words in dropped if words and not words[0].startswith(b"#")]
    if entries:
        more = f" and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
        yield f"warning: /etc/fstab of the image is replaced, which had {', '.join(map(shown, entries[:_SHOWN]))}{more}"
    inside.write("etc/hostname", f"{hostname}\n".encode(), mode=0o644)
    inside.write("etc/hosts", render_hosts(salvaged(hosts), hostname).encode(), mode=0o644)
    inside.write("etc/fstab", render_fstab(mounts).encode(), mode=0o644)


def _copy_kernel(standing: Standing, work: Path) -> tuple[Path | None, Path | None]:
    if not standing.kernel:
        return None, None
    kernel, initrd = work / "vmlinuz", work / "initrd.img"
    standing.inside.copy_out(standing.kernel, kernel, limit=_KERNEL_LIMIT)
    standing.inside.copy_out(standing.initrd, initrd, limit=_INITRD_LIMIT)
    return kernel, initrd

