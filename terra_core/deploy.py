"""A machine's system on its disks: disks formatted and mounted, an image applied, its identity and boot steps written."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from attrs import evolve, frozen

from terra_core.config.node import OS_LABEL, DiskGroup, Node
from terra_core.config.session import Session
from terra_core.config.values import Hostname
from terra_core.errors import CommandError, ConfigError, InterruptedWork, TerraError, words_of
from terra_core.fitness import Fit
from terra_core.hookspecs import BootStep, Filesystem, Mount, PreparedGroup
from terra_core.identity import render_hosts
from terra_core.image.apply import Applied, apply_layers
from terra_core.image.contained import ContainedRoot
from terra_core.machine.steps import BOOT, BootSteps, check_steps, make_steps_archive
from terra_core.machine.system import STEPS, render_hook, write_system
from terra_core.mounting import FSTAB, in_order, make_mounts, render_fstab
from terra_core.oci.faults import shown
from terra_core.oci.source import ImageSource
from terra_core.plugins import Plugins, filesystem_of
from terra_core.system.disks import cannot_grow, file_behind
from terra_core.system.namespaces import private_mounts
from terra_core.system.process import run
from terra_core.system.progress import Event
from terra_core.system.reading import lines_of, salvaged
from terra_core.system.undo import Undo
from terra_core.uniqueness import make_unique

_KERNEL, _INITRD = "vmlinuz", "initrd.img"
_KERNEL_LIMIT = 256 * 1024 * 1024
_FILE_LIMIT = 16 * 1024 * 1024
_SHOWN = 8
_SYNC_SECONDS = 3600
_INITRD_LIMIT = 2048 * 1024 * 1024

OpenImage = Callable[[Path], AbstractContextManager[ImageSource]]
"""Opens an image; called with a path that does not exist yet, on the machine's disks, for what has to be downloaded."""


@frozen(kw_only=True)
class BootFiles:
    """The files that a machine boots, on this machine.

    :param kernel: a copy of the image's kernel; ``None`` when it has none.
    :param initrd: a copy of the initial RAM disk that belongs to it.
    :param steps: the archive with the machine's boot steps.
    """

    kernel: Path | None
    initrd: Path | None
    steps: Path


@frozen(kw_only=True)
class _Group:
    """A disk group that is formatted.

    :param group: its entry in the file.
    :param filesystem: the plugin that formatted it.
    :param prepared: what it returned.
    """

    group: DiskGroup
    filesystem: Filesystem
    prepared: PreparedGroup

    def moved(self, places: Mapping[str, str]) -> _Group:
        """Return the same group, with paths where links of the image lead."""
        mounts = tuple(evolve(mount, path=places.get(mount.path, mount.path)) for mount in self.prepared.mounts)
        directories = tuple(places.get(path, path) for path in self.prepared.directories)
        return evolve(self, prepared=evolve(self.prepared, mounts=mounts, directories=directories))


@frozen(kw_only=True)
class MountedSystem:
    """The system of a machine on its disks, while it is mounted.

    :param hostname: the machine.
    :param root: where its root is mounted.
    :param inside: the same, safe against links in the image.
    :param mounts: all of its mounts.
    :param place: the path of the root within its file system, without a leading slash.
    :param kernel_arguments: what the kernel line needs to find the root.
    """

    hostname: Hostname
    root: Path
    inside: ContainedRoot
    mounts: tuple[Mount, ...]
    place: str
    kernel_arguments: tuple[str, ...]
    _groups: tuple[_Group, ...]
    _session: Session

    def lay_down(
        self, image: ImageSource, *, spared: str = "", after: Callable[[int], object] = lambda _: None
    ) -> Applied:
        """Apply an image, and write what makes the machine itself.

        :param spared: a name in the root that the image does not have, and that is left alone.
        :param after: called with the number of layers that the root holds, for each.
        :returns: the numbers of what was applied.
        :raises TerraError: naming the layer, the entry or the file.
        """
        applied = self.lay_image(image, spared=spared, after=after)
        self.make_own()
        return applied

    def lay_image(
        self, image: ImageSource, *, spared: str = "", after: Callable[[int], object] = lambda _: None
    ) -> Applied:
        """Apply an image, and write nothing that is of this machine alone: what is the same for every one of the image.

        :param spared: as for :meth:`lay_down`, like ``after``.
        :returns: what the image's layers came to.
        :raises TerraError: naming the layer or the entry.
        """
        applied = apply_layers(image, self.root, report=self._session.report, spared=spared, after=after)
        for path in (path for one in self._groups for path in one.prepared.directories):
            self.inside.directory(path.strip("/"))
        return applied

    def make_own(self) -> None:
        """Write what makes the machine itself over an image that is laid down: its names, its fstab, its keys.

        :raises TerraError: naming the file.
        """
        self._session.report(Event("identity", f"write the identity of {self.hostname}"))
        for text in (*_write_identity(self.inside, self.hostname, self.mounts), *make_unique(self.inside)):
            self._session.report(Event("identity", text))

    def mark(self, name: str, content: bytes) -> None:
        """Write a file into the top of each group, whose times stay as they are.

        :param name: the file's name, which no image has.
        """
        for place in self._tops():
            with _times_kept(self.root / place):
                self.inside.write(f"{place}/{name}".lstrip("/"), content, mode=0o600)

    def take_marks(self, name: str, *, limit: int = 4096) -> tuple[bytes, ...]:
        """Return what :meth:`mark` wrote into each group, of the groups that have it, and remove it."""
        found = []
        for place in self._tops():
            path = f"{place}/{name}".lstrip("/")
            content = self.inside.read(path, limit=limit)
            if content is not None:
                found.append(content)
                with _times_kept(self.root / place):
                    self.inside.remove(path)
        return tuple(found)

    @property
    def marked(self) -> int:
        """Return how many groups :meth:`mark` marks: those that are mounted somewhere."""
        return len(self._tops())

    def _tops(self) -> list[str]:
        return [one.prepared.mounts[0].path.strip("/") for one in self._groups if one.prepared.mounts]

    def make_steps(self, fit: Fit) -> bytes:
        """Write what boot steps bring into the system.

        :param fit: how the machine starts from the image.
        :returns: the archive with the steps, for its initial RAM disk.
        :raises TerraError: when a program is missing here, a module in the image, or something cannot be written.
        """
        return make_steps(self.inside, fit)

    def copy_boot_files(self, fit: Fit, work: Path, *, kept: Path | None = None) -> BootFiles:
        """Copy what the machine boots, for a boot service.

        :param fit: how the machine starts from the image.
        :param work: the directory for the copies.
        :param kept: a directory where :meth:`copy_kernel` has copied the kernel of this image before, if any.
        :raises TerraError: as :meth:`make_steps` does, and when something is too large.
        """
        steps = work / "steps.img"
        steps.touch(0o600)
        steps.write_bytes(self.make_steps(fit))
        if not fit.kernel:
            return BootFiles(kernel=None, initrd=None, steps=steps)
        place = kept if kept is not None and self._has_kernel(fit, kept) else work
        if place is work:
            self.copy_kernel(fit, work)
        return BootFiles(kernel=place / _KERNEL, initrd=place / _INITRD, steps=steps)

    def copy_kernel(self, fit: Fit, place: Path) -> None:
        """Copy the kernel of the image and its initial RAM disk, where it has them.

        :param place: the directory for the copies.
        :raises TerraError: when something is too large.
        """
        if fit.kernel:
            self.inside.copy_out(fit.kernel, place / _KERNEL, limit=_KERNEL_LIMIT)
            self.inside.copy_out(fit.initrd, place / _INITRD, limit=_INITRD_LIMIT)

    def _has_kernel(self, fit: Fit, place: Path) -> bool:
        """Return whether both copies have the size of what the image has: the last one may not have come to its end."""
        for path, name in ((fit.kernel, _KERNEL), (fit.initrd, _INITRD)):
            found = self.inside.look(path)
            copy = place / name
            if found is None or copy.is_symlink() or not copy.is_file() or copy.stat().st_size != found.st_size:
                return False
        return True

    def sync(self) -> None:
        """Flush everything that was written to the disks.

        :raises TerraError: naming the disk that does not take it.
        """
        for one in self._groups:
            for mount in one.prepared.mounts[:1]:
                place = self.root / mount.path.lstrip("/")
                _sync(place, mount)
                one.filesystem.verify_disks(one.group, place, self._session)


def make_steps(inside: ContainedRoot, fit: Fit) -> bytes:
    """Write what boot steps bring into a root; see :meth:`MountedSystem.make_steps`."""
    write_system([entry for step in fit.steps.all for entry in step.system], inside)
    return make_steps_archive(fit.steps, inside, fit.chosen, fit.held)


def write_steps(inside: ContainedRoot, fit: Fit) -> None:
    """Write the archive with the boot steps of a machine that starts from its own disks, where its boot loader reads it.

    :raises TerraError: as :meth:`MountedSystem.make_steps` does.
    """
    inside.write(STEPS, make_steps(inside, fit), mode=0o600)
    if fit.steps.modules:
        write_system([render_hook(fit.steps.modules)], inside)


@contextmanager
def mounted_system(
    node: Node,
    disks: Mapping[str, Sequence[Path]],
    *,
    plugins: Plugins,
    session: Session,
    work: Path,
    places: Mapping[str, str] | None = None,
    cloned: bool = False,
) -> Iterator[MountedSystem]:
    """Format the disks of a machine and mount them, for an image to be laid down on them.

    Nothing is mounted at its end, also after an error, and nobody else sees the mounts meanwhile. Call :meth:`sync` before the
    end for what has to be on the disks.

    :param node: the machine; every check of its file has been made.
    :param disks: block devices or image files by the label of their group, in the order of the group's disks.
    :param work: an empty directory for mounts; the caller removes it.
    :param places: where mounts go by their paths in ``node``, where links of the image lead elsewhere.
    :param cloned: whether the disks are copies of some that were made so: they get an identity of their own in place of being
        formatted.
    :raises TerraError: naming the step or the device.
    """
    root = work / "root"
    root.mkdir()
    with _naming_a_full_disk(disks), private_mounts(), Undo() as stack:
        groups = [one.moved(places or {}) for one in _prepare(node, disks, stack, plugins, session, work, cloned=cloned)]
        mounts = in_order([mount for one in groups for mount in one.prepared.mounts])
        make_mounts(mounts, root, stack)
        yield MountedSystem(
            hostname=node.hostname,
            root=root,
            inside=stack.enter_context(ContainedRoot(root)),
            mounts=tuple(mounts),
            place="".join(one.prepared.root for one in groups if one.group.label == OS_LABEL),
            kernel_arguments=(f"boot={BOOT}", *(argument for one in groups for argument in one.prepared.kernel_arguments)),
            groups=tuple(groups),
            session=session,
        )


def root_steps(node: Node, plugins: Plugins, session: Session, *, connect: BootStep | None = None) -> BootSteps:
    """Return what a machine goes through to mount its root, and check what can be checked of it without an image.

    :param node: the machine.
    :param session: its plugins' tables.
    :param connect: what makes the disks appear; ``None`` for its own.
    :raises TerraError: naming what is wrong, such as a program that is not installed here.
    """
    group = next(group for group in node.groups if group.label == OS_LABEL)
    mount = filesystem_of(group, node, plugins, source=session.source).mount_root(group, session)
    steps = BootSteps(connect=connect, mount=mount)
    check_steps(steps)
    return steps


def _prepare(
    node: Node,
    disks: Mapping[str, Sequence[Path]],
    stack: ExitStack,
    plugins: Plugins,
    session: Session,
    work: Path,
    *,
    cloned: bool,
) -> list[_Group]:
    prepared = []
    for group in node.groups:
        filesystem = filesystem_of(group, node, plugins, source=session.source)
        own = work / f"group-{group.label}"
        own.mkdir()
        if cloned:
            offer = filesystem.renew_identity(group, disks[group.label], own, session)
        else:
            session.report(Event("format", f"format {group.label}: {group.type.value} on {len(group.disk)} disk(s)"))
            offer = filesystem.prepare_disks(group, disks[group.label], own, session)
        answer = stack.enter_context(offer)
        prepared.append(_Group(group=group, filesystem=filesystem, prepared=answer))
    return prepared


@contextmanager
def _times_kept(directory: Path) -> Iterator[None]:
    """Leave the times of a directory as they were, whatever is made or removed in it meanwhile."""
    former = directory.stat()
    yield
    os.utime(directory, ns=(former.st_atime_ns, former.st_mtime_ns))


@contextmanager
def _naming_a_full_disk(disks: Mapping[str, Sequence[Path]]) -> Iterator[None]:
    """Name the full disk when a machine's disk is a file on it; otherwise only errors of the machine's file system are seen.

    :param disks: block devices or image files, by the label of their group.
    """
    try:
        yield
    except (InterruptedWork, ConfigError):
        raise
    except (TerraError, OSError) as error:
        for file in filter(None, (file_behind(device) for devices in disks.values() for device in devices)):
            if cannot_grow(file):
                told = error.message if isinstance(error, TerraError) else words_of(error)
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
    """Write the files that identify the machine; yield a line for each thing of the image that had to go for that."""
    hosts = inside.read_small("etc/hosts", limit=_FILE_LIMIT)
    found = inside.look("etc/hosts")
    if found is not None and (not stat.S_ISREG(found.st_mode) or len(hosts) < found.st_size):
        yield "warning: /etc/hosts of the image is no file that can be kept: it is replaced"
    dropped = [line.split()[:2] for line in inside.read_small(FSTAB, limit=_FILE_LIMIT).split(b"\n")]
    entries = [b" at ".join(words) for words in dropped if words and not words[0].startswith(b"#")]
    if entries:
        more = f" and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
        yield f"warning: /etc/fstab of the image is replaced, which had {', '.join(map(shown, entries[:_SHOWN]))}{more}"
    inside.write("etc/hostname", f"{hostname}\n".encode(), mode=0o644)
    inside.write("etc/hosts", render_hosts(salvaged(hosts), hostname).encode(), mode=0o644)
    inside.write(FSTAB, render_fstab(mounts).encode(), mode=0o644)
