"""Installing: look, plan, check, and only then write."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

from attrs import evolve, frozen

from terra_core.config.controller import THIS_MACHINE, Paths
from terra_core.config.loader import Document
from terra_core.config.node import OS_LABEL, Node
from terra_core.config.problems import DocumentError
from terra_core.config.session import Session
from terra_core.config.values import Address
from terra_core.deploy import OpenImage, mounted_system, root_steps
from terra_core.documents import settled
from terra_core.errors import ConfigError, TerraError
from terra_core.fitness import Fit, fit, fit_of_root
from terra_core.hookspecs import Bootloader, CheckedGroup
from terra_core.image.room import room_in
from terra_core.image.survey import survey
from terra_core.install.disks import Made, clear, partition
from terra_core.install.facts import Device, Missing
from terra_core.install.finish import Finish
from terra_core.install.former import former_machines
from terra_core.install.image import kept, look_up
from terra_core.install.journal import Journal
from terra_core.install.plan import NOTHING_WRITTEN, Plan, RefusedError, make_plan
from terra_core.install.probe import examine
from terra_core.machine.modules import INDEX
from terra_core.machine.steps import BootSteps
from terra_core.oci.source import ImageSource
from terra_core.plugins import Plugins, filesystem_of
from terra_core.selection import INSTALLED
from terra_core.system.disks import Signature
from terra_core.system.locks import try_lock, wait_for_lock
from terra_core.system.mounts import sweep
from terra_core.system.progress import Event, Report, silent
from terra_core.system.undo import Undo
from terra_core.system.workspace import roomy
from terra_core.versions.layers import keeping

_OTHER_SECONDS = 1800
_UNSEEN = "warning: whether the image can boot shows only when it is laid down"


@frozen(kw_only=True)
class Installation:
    """An installation that is planned and checked, and of which nothing is written yet.

    :param plan: what it will do.
    """

    plan: Plan
    _raw: Mapping[str, object]
    _open: OpenImage
    _steps: BootSteps
    _fit: Fit | None
    _gateway: Address | None
    _plugins: Plugins
    _session: Session
    _journal: Journal
    _work: Path

    def carry_out(self) -> None:
        """Do it.

        :raises RefusedError: when a disk has changed since it was planned; nothing was written then.
        :raises TerraError: naming the step and the disk; the machine does not start from its disks then, and says so.
        """
        plan, report = self.plan, self._session.report
        report(Event("clear", f"remove what is on {_counted(len(plan.targets))}"))
        clear(plan, self._journal)
        report(Event("partition", "make the partitions"))
        made = [partition(target) for target in plan.targets]
        self._lay_down(made)
        self._journal.end([target.device for target in plan.targets])

    def _lay_down(self, made: list[Made]) -> None:
        plan = self.plan
        finish = Finish(
            plan=plan,
            raw=self._raw,
            made=made,
            gateway=self._gateway,
            plugins=self._plugins,
            session=self._session,
            work=self._work,
        )
        session, places = self._session, self._fit.places if self._fit else {}
        disks: dict[str, list[Path]] = {group.label: [] for group in plan.node.groups}
        for one in made:
            disks[one.target.group].append(one.data)
        work = self._work / "deploy"
        work.mkdir()
        with mounted_system(plan.node, disks, plugins=self._plugins, session=session, work=work, places=places) as system:
            with room_in(system.root) as room, self._open(room) as source:
                filesystem = filesystem_of(plan.node.os_group, plan.node, self._plugins, source=session.source)
                with keeping(filesystem, system.root, source, spared=room.name, work=work, session=session) as keep:
                    system.lay_down(source, spared=room.name, after=keep)
            finish(system, self._fit or fit_of_root(system.inside, self._steps), source)


@contextmanager
def installation(
    document: Document[Node],
    *,
    gateway: Address | None = None,
    plain_http: bool = False,
    wipe: bool = False,
    report: Report = silent,
    paths: Paths = THIS_MACHINE,
    plugins: Plugins | None = None,
) -> Iterator[Installation]:
    """Plan an installation and check all that can be checked; nothing is written to any disk by this.

    One at a time on a machine. What one that was killed has left mounted is unmounted first.

    :param document: node.toml.
    :param gateway: the machine's gateway.
    :param plain_http: whether the registry of the image may be talked to without TLS.
    :param wipe: whether what is on the disks may go.
    :param report: takes progress events, and may raise to end the work.
    :param paths: where the lock of installations and the work of one are kept.
    :param plugins: the installed plugins; found when left out.
    :raises TerraError: with everything that stands against it.
    """
    node, plugins = document.value, plugins or Plugins.discover()
    groups = [group.filesystem for group in node.groups if group.filesystem]
    document = settled(document, INSTALLED, plugins, node.plugins, beside=groups)
    if refused := list(node.upgrade.refused()):
        raise DocumentError(document.source, refused)
    told = document.session(report, paths=paths, plain_http=plain_http)
    place = paths.run / "install"
    with _alone(place, told.report) as work, Undo() as stack:
        journal = Journal(place / "begun")
        found = examine(disk.device for group in node.groups for disk in group.disk)
        begun = _begun(found, journal, node)
        there = [one for one in found.values() if isinstance(one, Device) and one.number not in begun]
        former = former_machines(there, plugins, work)
        make_plan(node, found, 0, wipe=wipe, begun=begun, former=former)  # before anything is fetched
        image = look_up(node, plugins, told)
        told.report(Event("plan", f"plan the disks of {node.hostname}"))
        plan = make_plan(node, found, image.bytes, wipe=wipe, begun=begun, former=former)
        plan = _checked(plan, plugins, told)
        source = stack.enter_context(kept(image))
        steps = root_steps(node, plugins, told)
        found_fit = _fit(source, plan, steps, told)
        unseen = f"{_UNSEEN}: {roomy()} has no room for its {image.bytes // 1024**2} MB"
        notes = (*plan.notes, *(found_fit.notes if found_fit else (unseen,)))
        yield Installation(
            plan=evolve(plan, notes=notes),
            raw=document.raw,
            open=image.open if source is None else lambda _: nullcontext(source),
            steps=steps,
            fit=found_fit,
            gateway=gateway,
            plugins=plugins,
            session=told,
            journal=journal,
            work=work,
        )


def _fit(source: ImageSource | None, plan: Plan, steps: BootSteps, session: Session) -> Fit | None:
    if source is None:
        return None
    session.report(Event("plan", f"look at what {plan.node.image} has"))
    boot_loader = plan.firmware is not None
    seen = survey(source, INDEX)
    try:
        found = fit(seen, plan.node, steps, source=session.source, boot_loader=boot_loader, own_kernel=boot_loader)
    except ConfigError as error:
        raise ConfigError([*error.problems, NOTHING_WRITTEN]) from error
    except TerraError as error:
        raise RefusedError(f"{error.message}\n{NOTHING_WRITTEN}") from error
    for note in found.notes:
        session.report(Event("plan", note))
    return found


def _begun(found: Mapping[str, Device | Missing], journal: Journal, node: Node) -> dict[str, tuple[Signature, ...]]:
    devices = [one for one in found.values() if isinstance(one, Device)]
    return {one.number: journal.begun(one, node.hostname) for one in devices if journal.has_begun(one, node.hostname)}


def _checked(plan: Plan, plugins: Plugins, session: Session) -> Plan:
    """Ask every plugin that will have to do with a disk whether it can; returns the plan with what a user should know."""
    checked: dict[str, CheckedGroup] = {}
    for group in plan.node.groups:
        sizes = [target.capacity for target in plan.of_group(group.label)]
        filesystem = filesystem_of(group, plan.node, plugins, source=session.source)
        checked[group.label] = filesystem.check_disks(group, sizes, session)
    notes = [f"{label}: {text}" for label, one in checked.items() for text in one.notes]
    boot = plan.boot_loader()
    if boot is not None:
        told = evolve(boot, type=checked[OS_LABEL].type)
        notes += plugins.fill(Bootloader, plan.node.plugins, source=session.source).check_bootloader(told, session)
    return plan.measured({label: one.capacity for label, one in checked.items()}, notes)


@contextmanager
def _alone(place: Path, report: Report) -> Iterator[Path]:
    """Hold the one lock of a machine's installations; yield an empty directory, which is removed at the end."""
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(place / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise TerraError(f"{place}: cannot be used: {error.strerror}", hint="run terra-install as root") from error
    try:
        if not try_lock(lock):
            report(Event("wait", "wait for another terra-install on this machine to end"))
            wait_for_lock(lock, seconds=_OTHER_SECONDS, what="another terra-install to end")
        work = place / "work"
        if work.exists():
            sweep(work, work)
            shutil.rmtree(work)
        work.mkdir(mode=0o700)
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)
    finally:
        os.close(lock)


def _counted(disks: int) -> str:
    return "1 disk" if disks == 1 else f"{disks} disks"
