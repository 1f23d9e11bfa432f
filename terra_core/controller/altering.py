"""Changing machines that are there: the database has what is wanted first, then the machine gets it, or all is as it was."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import structlog
from attrs import evolve

from terra_core.config.kernel_line import require_further
from terra_core.config.loader import Document
from terra_core.config.node import NetworkGroup, NetworkNode
from terra_core.config.session import Session
from terra_core.config.values import Hostname
from terra_core.controller.changes import Action, Change, Plan, action_of, differences, further_groups, grown_groups
from terra_core.controller.disks import MB, Disks
from terra_core.controller.laying import session_of
from terra_core.controller.records import KeptTarget, Record, SetAside, State
from terra_core.controller.services import Services
from terra_core.controller.store import version_of
from terra_core.controller.tags import Tags
from terra_core.controller.wanted import Wanted, present_of, wanted_of
from terra_core.deploy import mounted_system
from terra_core.errors import ConflictError, NotFoundError, TerraError
from terra_core.hookspecs import Boot
from terra_core.mounting import render_mount_words
from terra_core.plugins import filesystem_of
from terra_core.service.database_server import DatabaseAway
from terra_core.system.process import uninterrupted
from terra_core.system.progress import Event, Report
from terra_core.system.undo import Undo

_log = structlog.get_logger(__name__)
_UNFINISHED = "what its file says could not be finished"
ABSENT = "absent"
"""The version of a machine that is not there."""


class Altering:
    """Changes machines. May be used from several threads; one machine is changed by one at a time.

    :param services: what the controller works with.
    :param disks: the volumes and targets of machines.
    :param tags: tells whether tags have moved.
    :param targets: the lock that is held while a record, its targets and its boot files have to agree.
    :param start_boot: makes the network boot service know every machine.
    """

    def __init__(
        self,
        services: Services,
        disks: Disks,
        tags: Tags,
        targets: threading.Lock,
        start_boot: Callable[[Session], object],
    ) -> None:
        self._services = services
        self._store = services.store
        self._disks = disks
        self._tags = tags
        self._targets = targets
        self._start_boot = start_boot
        self._busy: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._owed: dict[str, tuple[Record, Record]] = {}  # machines before and in a change that the database's absence cut

    def plan(self, document: Document[NetworkNode]) -> Plan:
        """Return what applying a file does; change nothing.

        :raises ConfigError: with every problem of the file.
        :raises ConflictError: when another machine holds its address, or the machine is being made or deleted.
        """
        hostname = document.value.hostname
        self._store.require_free(hostname, document.value.mac, itself=True)
        former = self._former(hostname)
        if former is None:
            wanted = wanted_of(document, self._services)
            notes = self._checked(wanted, [group.label for group in wanted.node.groups])
            return Plan(hostname=hostname, action=Action.CREATE, version=ABSENT, notes=tuple(notes))
        wanted = wanted_of(document, self._services, former)
        changes = list(self._changes(former, wanted))
        present = present_of(former, self._services.plugins).node
        grown = grown_groups(present, wanted.node)
        checked = [group.label for group in (*further_groups(present, wanted.node), *grown)]
        action = action_of(changes)
        notes = self._checked(wanted, checked) if action is Action.CHANGE else []
        notes += filter(None, [self._tags.note(former)])
        if action is Action.CHANGE and grown and self._disks.connected(former.targets):
            notes.append("it is logged in to its disks: shut it down before it gets larger ones")
        version = version_of(former)
        return Plan(hostname=hostname, action=action, version=version, changes=tuple(changes), notes=tuple(notes))

    def checked(self, document: Document[NetworkNode], version: str) -> tuple[Record | None, Plan]:
        """Return a machine and what applying a file to it does, ready to be carried out.

        :param version: that of the plan which a person has seen; empty for any.
        :returns: no machine where it has to be made.
        :raises ConflictError: when it is not what it was, or what is wanted cannot be done.
        """
        plan = self.plan(document)
        if plan.action is Action.CHANGE:
            self._require_settled(self._store.get(plan.hostname))
        if version not in ("", plan.version):
            text = f"{plan.hostname} was changed by somebody else since this was planned"
            raise ConflictError(text, hint="look at what will change now, and apply again")
        if plan.action is Action.REFUSED:
            reasons = [f"{change.path}: {change.note}" for change in plan.changes if not change.possible]
            text = f"{plan.hostname} is not changed: {reasons[0]}"
            raise ConflictError(text, hint="; ".join(reasons[1:]))
        former = None if plan.action is Action.CREATE else self._store.get(plan.hostname)
        if former is not None and version_of(former) != plan.version:
            raise ConflictError(f"{plan.hostname} was changed by somebody else meanwhile", hint="apply again")
        return former, plan

    def change(self, former: Record, document: Document[NetworkNode], report: Report) -> Mapping[str, Any]:
        """Make a machine what its file says; any failure leaves it as it was.

        :param former: the machine as it was planned for.
        :returns: it as ``terra provision`` prints it.
        :raises ConflictError: when it is not what it was any more, or has to be shut down first.
        """
        session = self._services.session.reporting_to(report)
        wanted = wanted_of(document, self._services, former)
        with self.busy(former.hostname), Undo() as undo:
            if not list(self._changes(former, wanted)):
                return former.as_json()
            present = present_of(former, self._services.plugins).node
            grown = grown_groups(present, wanted.node)
            if grown:
                self._require_off(former)
            if grown or further_groups(present, wanted.node):
                self._disks.require_room()
            report(Event("plan", f"note what {former.hostname} shall be"))
            intent = self._intent(former, wanted)
            with self._owing(former, intent):  # it may be written all the same
                record = self._store.exchange(former, intent)
            undo.when_failing(self._put_back, former, intent)
            record = self._bring_about(record, undo, session)
        if unfinished(former):
            self._store.set_problem(record, "")
        return record.as_json()

    def finish(self, hostname: str) -> None:
        """Make a machine what its record says, after a controller was killed while it did."""
        with self.busy(hostname), Undo() as undo:
            record = self._former(Hostname(hostname))
            if record is None or not record.unmade:
                return
            _log.warning("finishing a change that was begun", hostname=hostname)
            try:
                self._bring_about(record, undo, self._services.session)
            except TerraError as error:
                self._store.set_problem(record, f"{_UNFINISHED}: {error.message}; apply it again")
                raise

    @contextmanager
    def unless_busy(self, hostname: str) -> Iterator[bool]:
        """Keep everybody else from changing or deleting a machine meanwhile, if nobody does now; yield whether that is so."""
        with Undo() as undo:
            free = self._busy[hostname].acquire(blocking=False)
            if free:
                undo.callback(self._busy[hostname].release)
                self._settle(hostname)
            yield free

    @contextmanager
    def busy(self, hostname: str) -> Iterator[None]:
        """Keep everybody else from changing or deleting a machine meanwhile."""
        with self._busy[hostname]:
            self._settle(hostname)
            yield

    def settle(self) -> None:
        """Have machines as they were before changes that failed while the database did not answer.

        :raises TerraError: when it still does not.
        """
        for hostname in list(self._owed):
            with self.unless_busy(hostname):
                pass

    def _settle(self, hostname: str) -> None:
        """Put a machine back first of all, when its change failed; its targets and boot files follow with those of all."""
        owed = self._owed.get(hostname)
        if owed is None:
            return
        former, intent = owed
        with suppress(NotFoundError):
            record = self._store.find(hostname)
            wanted = (former.generation, intent.document)  # others on the database may have changed it since
            if isinstance(record, Record) and (record.generation, record.document) == wanted:
                self._store.put_back(former)
        self._owed.pop(hostname, None)

    @contextmanager
    def _owing(self, former: Record, intent: Record) -> Iterator[None]:
        """Put a machine back later where a block fails as the database does not answer."""
        try:
            yield
        except DatabaseAway:
            self._owed[former.hostname] = former, intent
            raise

    def _require_settled(self, record: Record) -> None:
        """Refuse to change a machine whose system is being changed."""
        if record.under_way is not None:
            raise ConflictError(
                f"{record.hostname} is being upgraded to {record.under_way.image}: {record.under_way.phase.value}",
                hint=f"wait for the end of it, or end it: terra rollback {record.hostname}",
            )

    def _require_off(self, record: Record) -> None:
        """Refuse to take targets from a machine that is connected to them."""
        if self._disks.connected(record.targets):
            raise ConflictError(
                f"{record.hostname} is logged in to its disks, which become larger while it is off",
                hint="shut it down, and apply again a minute later",
            )

    def _former(self, hostname: Hostname) -> Record | None:
        """Return a machine that can be changed, if there is one.

        :raises ConflictError: when it cannot be changed now.
        """
        if hostname in self._owed:
            with self.busy(hostname):
                pass
        try:
            record = self._store.find(hostname)
        except NotFoundError:
            return None
        if isinstance(record, SetAside):
            hint = f"terra delete {hostname} takes it away; then apply again"
            raise ConflictError(f"{hostname} is set aside: {record.said}", hint=hint)
        if record.state in (State.PROVISIONING, State.DELETING):
            doing = "provisioned" if record.state is State.PROVISIONING else "deleted"
            raise ConflictError(f"{hostname} is being {doing}", hint="wait for the end of it, and apply again")
        return record

    def _changes(self, former: Record, wanted: Wanted) -> Iterator[Change]:
        """Yield every difference, of which those are not possible that a plugin cannot do."""
        present = present_of(former, self._services.plugins)
        further: set[str] = {group.label for group in further_groups(present.node, wanted.node)}
        grown: set[str] = {group.label for group in grown_groups(present.node, wanted.node)}
        targets: dict[str, KeptTarget] = {kept.target.label: kept for kept in former.targets}
        if former.host and wanted.node.host not in (None, former.host):
            note = "its data would have to move: terra delete and terra apply make it anew there, and its data goes"
            yield Change(path="host", former=former.host, wanted=str(wanted.node.host), possible=False, note=note)
        for change in differences(present, wanted):
            if change.path == "kernel_arguments":
                require_further(wanted.node.kernel_arguments, former.own_arguments)
            label = change.path.partition("[")[2].partition("]")[0]
            reason = ""
            if change.possible and change.path == f"groups[{label}]" and label in further:
                reason = self._no_further(former, wanted)
            elif change.possible and label in grown and change.path.endswith(".size"):
                reason = self._disks.grows(targets[label])
            yield evolve(change, possible=False, note=reason) if reason else change

    def _no_further(self, former: Record, wanted: Wanted) -> str:
        """Say why a machine gets no further group; nothing when it can."""
        made = [kept for kept in former.targets if kept.made]
        further = self._disks.plan(evolve(former, node=wanted.node, targets=tuple(made)), lambda hostname, label: 1)
        if self._disks.takes_further(made, further):
            return ""
        storage = further[0].storage
        return (
            f"the storage plugin {storage!r} gives no further disks to a machine that is there: "
            "terra delete and terra apply make it anew, and its data goes"
        )

    def _checked(self, wanted: Wanted, labels: Sequence[str]) -> list[str]:
        """Ask the filesystem plugins whether they can make these groups; return what a person should know."""
        session = evolve(self._services.session, source="node.toml", tables=wanted.tables)
        notes = []
        for group in (group for group in wanted.node.groups if group.label in labels):
            filesystem = filesystem_of(group, wanted.node, self._services.plugins, source=session.source)
            checked = filesystem.check_disks(group, [disk.size * MB for disk in group.disk], session)
            notes += [f"{group.label}: {note}" for note in checked.notes]
        return notes

    def _intent(self, former: Record, wanted: Wanted) -> Record:
        """Return a machine as it shall be, with what has to be made for it."""
        made = tuple(kept for kept in former.targets if kept.made)
        for kept in former.targets:
            if not kept.made:  # what could not be finished before is planned anew
                with self._targets:
                    self._disks.clear(kept)
        record = evolve(
            former,
            node=wanted.node,
            document=wanted.document,
            tables=wanted.tables,
            targets=made,
            kernel_arguments=(*former.own_arguments, *wanted.node.kernel_arguments),
        )
        further = self._disks.plan(record, self._store.number)
        return evolve(record, targets=(*made, *(evolve(kept, made=False) for kept in further)))

    def _bring_about(self, record: Record, undo: Undo, session: Session) -> Record:
        """Make what a record says and what is not there yet; every step can be repeated."""
        for kept in record.targets:
            if not kept.made:
                record = self._make_group(record, kept, undo, session)
        session.report(Event("publish", f"publish the boot files of {record.hostname}"))
        with self._targets:
            self._store.require(record)
            self._services.role(Boot).publish_boot(record.boot, session)
        for kept in record.targets:
            sizes = [disk.size for disk in _group_of(record, kept).disk]
            if sizes != [volume.size for volume in kept.target.volumes]:
                record = self._grow(record, kept, sizes, undo, session)
        self._start_boot(session)
        return record

    def _make_group(self, record: Record, kept: KeptTarget, undo: Undo, session: Session) -> Record:
        """Make the volumes of a further group, with a file system that is empty, and export them."""
        with self._targets:
            self._disks.clear(kept)  # what a controller that was killed has made of it
        group = _group_of(record, kept)
        session.report(Event("make", f"make the disks of the group {group.label}"))
        self._disks.make([kept], None, undo, session)
        of_node = session_of(record, session)
        with (
            self._services.workspace(record.hostname) as work,
            self._disks.opened([kept], session) as disks,
            mounted_system(
                evolve(record.node, groups=(group,)), disks, plugins=self._services.plugins, session=of_node, work=work
            ) as system,
        ):
            words = render_mount_words(system.mounts, session.report)
            system.sync()
        made = evolve(kept, made=True)
        own = (*record.own_arguments, *kept.target.kernel_arguments, *words)
        targets = tuple(made if one is kept else one for one in record.targets)
        changed = evolve(record, targets=targets, kernel_arguments=(*own, *record.node.kernel_arguments))
        session.report(Event("export", f"export {kept.target.name}"))
        with self._targets, Undo() as given:
            self._disks.provision(made, given, session)
            record = self._store.exchange(record, changed)
        undo.when_failing(self._withdraw, made)
        return record

    def _grow(self, record: Record, kept: KeptTarget, sizes: Sequence[int], undo: Undo, session: Session) -> Record:
        """Make the volumes of a group larger; the machine is off, and finds them so when it starts."""
        session.report(Event("grow", f"make the disks of the group {kept.target.label} larger"))
        with self._targets:
            self._store.require(record)
            self._require_off(record)
            self._disks.withdraw(kept)
            larger = self._disks.grow(kept, sizes, undo, session)
            changed = evolve(record, targets=tuple(larger if one is kept else one for one in record.targets))
            record = self._store.exchange(record, changed)
            undo.when_failing(self._withdraw, larger)
            if reason := self._disks.restore([larger], session)[0]:
                raise TerraError(f"{kept.target.name} cannot be exported again: {reason}")
        return record

    def _withdraw(self, kept: KeptTarget) -> None:
        with uninterrupted(), self._targets:
            self._disks.withdraw(kept)

    def _put_back(self, former: Record, intent: Record) -> None:
        """Have a machine as it was before a change that failed."""
        with uninterrupted(), self._targets:
            with self._owing(former, intent):
                self._store.put_back(former)
            reasons = self._disks.restore([kept for kept in former.targets if kept.made], self._services.session)
            self._services.role(Boot).publish_boot(former.boot, self._services.session)
            if reason := next(filter(None, reasons), ""):
                raise TerraError(f"{former.hostname} cannot be exported as it was: {reason}")


def unfinished(record: Record | SetAside) -> str:
    """Return the problem of a machine that could not be made what its file says; nothing when it has another one, or none."""
    return record.problem if record.problem.startswith(_UNFINISHED) else ""


def _group_of(record: Record, kept: KeptTarget) -> NetworkGroup:
    return next(group for group in record.node.groups if group.label == kept.target.label)
