"""Making the other version of a machine: its volume, and the boot files of both."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import evolve, frozen

from terra_core.config.node import OS_LABEL
from terra_core.config.session import Session
from terra_core.config.values import parse_image_reference
from terra_core.controller.carrying import carry_over, former_system
from terra_core.controller.disks import Disks
from terra_core.controller.golden import Golden
from terra_core.controller.goldens import Goldens
from terra_core.controller.laying import session_of
from terra_core.controller.records import KeptTarget, Record, SetAside, Upgrade, Version
from terra_core.controller.services import Services
from terra_core.controller.trial_units import trial_units
from terra_core.deploy import MountedSystem, mounted_system, root_steps
from terra_core.errors import TerraError
from terra_core.fitness import Fit
from terra_core.hookspecs import Boot, NodeBoot
from terra_core.machine.system import write_system
from terra_core.system.files import sync_directory
from terra_core.system.progress import Event
from terra_core.system.undo import Undo

_FILES = ("vmlinuz", "initrd.img", "steps.img")


@frozen
class Making:
    """Makes other versions of machines; may be used from several threads, for a machine by one at a time.

    :param services: what the controller works with.
    :param disks: the volumes and targets of machines.
    :param goldens: what is laid down once for all machines.
    """

    _services: Services
    _disks: Disks
    _goldens: Goldens

    def boot_of(self, record: Record) -> NodeBoot:
        """Return what a machine boots, with its files where they may differ from those that were published last."""
        boot = record.boot
        place = self._place(record) / boot.image.partition(":")[2]
        kernel, initrd, steps = (place / name for name in _FILES)
        if record.upgrade is None or not steps.is_file():
            return boot
        own = kernel.is_file() and initrd.is_file()
        return evolve(boot, steps=steps, kernel=kernel if own else None, initrd=initrd if own else None)

    def forget_files(self, record: Record | SetAside) -> None:
        """Remove the boot files that are kept of a machine."""
        if isinstance(record, Record):
            shutil.rmtree(self._place(record), ignore_errors=True)

    def keep_files(self, record: Record, session: Session) -> None:
        """Keep what a machine boots now, for it to be given back, and make room for what it will boot."""
        self.forget_files(record)
        place = self._place(record) / record.digest.partition(":")[2]
        place.mkdir(parents=True, mode=0o700)
        boot = self._services.role(Boot).keep_boot(record.boot, place, session)
        for source, name in zip((boot.kernel, boot.initrd, boot.steps), _FILES, strict=True):
            if source is not None and source != place / name:
                _link(source, place / name)
        sync_directory(place)
        (self._place(record) / other_of(record).digest.partition(":")[2]).mkdir(mode=0o700)

    def fill(
        self, record: Record, golden: Golden, fit: Fit, session: Session, work: Path, *, carry: bool
    ) -> tuple[str, ...]:  # fmt: skip
        """Make the disks of the other version; return what its kernel line needs to find the root.

        :param fit: how it starts.
        :param carry: whether to take over what is the machine's own, which is off.
        """
        following = next_of(record)
        with Undo() as made:
            self._disks.make(following.targets, golden, made, session)
            self._goldens.require_unchanged(golden)
            with self._mounted(record, fit.places, session, work) as system:
                golden.require_marks(system.take_marks(golden.mark_name), system.marked, golden.digest)
                system.make_own()
                files = system.copy_boot_files(fit, work, kept=self._goldens.kernel(golden))
                place = self._place(record) / golden.digest.partition(":")[2]
                for source, name in zip((files.kernel, files.initrd, files.steps), _FILES, strict=True):
                    if source is not None:
                        _link(source, place / name)
                sync_directory(place)
                if carry:
                    self._carry(record, system, fit.places, session, work)
                self._write_trial(record, system)
                return _synced(system, session)

    def carry(self, record: Record, session: Session, work: Path) -> tuple[str, ...]:
        """Take over what is the own of a machine, which is off, into its other version, which is there; it can be repeated.

        :returns: what the kernel line needs to find the root, which has another identity than before.
        """
        places = upgrade_of(record).places
        with self._mounted(record, places, session, work) as system:
            system.make_own()
            self._write_steps(record, system, session)
            self._carry(record, system, places, session, work)
            self._write_trial(record, system)
            return _synced(system, session)

    def _write_trial(self, record: Record, system: MountedSystem) -> None:
        """Write what decides the trial, after what is taken over, which may hold the directory of units."""
        seconds = self._services.config.upgrade.timeout
        write_system(list(trial_units(record.node.upgrade.check, seconds)), system.inside)

    def _write_steps(self, record: Record, system: MountedSystem, session: Session) -> None:
        of_node = session_of(record, session)
        connect = self._disks.connect(with_other(record), of_node)
        steps = root_steps(record.node, self._services.plugins, of_node, connect=connect)
        write_system([entry for step in steps.all for entry in step.system], system.inside)

    @contextmanager
    def _mounted(
        self, record: Record, places: Mapping[str, str], session: Session, work: Path
    ) -> Iterator[MountedSystem]:  # fmt: skip
        """Mount the other version of a machine, with an identity of its own."""
        following, of_node = next_of(record), session_of(record, session)
        with (
            self._disks.opened(following.targets, session) as disks,
            mounted_system(
                following.node, disks, plugins=self._services.plugins, session=of_node, work=_made(work / "next"),
                places=places, cloned=True,
            ) as system,
        ):  # fmt: skip
            yield system

    def _carry(
        self, record: Record, system: MountedSystem, places: Mapping[str, str], session: Session, work: Path
    ) -> None:  # fmt: skip
        of_node = session_of(record, session)
        (present,) = record.system
        with (
            self._disks.copied(present, upgrade_of(record).scratch, of_node) as copies,
            former_system(
                record.node, copies[OS_LABEL], plugins=self._services.plugins, session=of_node, work=_made(work / "former")
            ) as former,
        ):
            carry_over(former, system, record.node, places, of_node)

    def _place(self, record: Record) -> Path:
        return self._services.session.paths.state / "upgrades" / f"{record.hostname}.{record.generation}"


def next_of(record: Record) -> Record:
    """Return a machine that is to be laid down: the system alone, of its other version."""
    other = other_of(record)
    group = next(group for group in record.node.groups if group.label == OS_LABEL)
    node = evolve(record.node, image=parse_image_reference(other.image), groups=(group,))
    return evolve(record, node=node, targets=other.targets, digest=other.digest, layout=other.layout, upgrade=None)


def with_other(record: Record) -> Sequence[KeptTarget]:
    """Return the targets that a machine will have, that of its system first."""
    return (*other_of(record).targets, *(kept for kept in record.targets if kept.target.label != OS_LABEL))


def upgrade_of(record: Record) -> Upgrade:
    if record.upgrade is None:
        raise TerraError(f"{record.hostname} is not being upgraded any more")
    return record.upgrade


def other_of(record: Record) -> Version:
    other = upgrade_of(record).other
    if other is None:
        raise TerraError(f"{record.hostname} has no other version any more")
    return other


def _synced(system: MountedSystem, session: Session) -> tuple[str, ...]:
    session.report(Event("sync", "write everything to the disks"))
    system.sync()
    return tuple(system.kernel_arguments)


def _link(source: Path, path: Path) -> None:
    """Give a file another name; copy it where that cannot be."""
    path.unlink(missing_ok=True)
    try:
        path.hardlink_to(source)
    except OSError:  # another file system, or too many names
        shutil.copyfile(source, path)
        path.chmod(0o600)


def _made(place: Path) -> Path:
    place.mkdir()
    return place
