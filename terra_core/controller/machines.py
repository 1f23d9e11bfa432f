"""Provisioning machines and taking them away: intent into the database first, then everything else, or none of it."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import structlog
from attrs import evolve

from terra_core.config.kernel_line import require_further
from terra_core.config.loader import Document
from terra_core.config.node import NetworkNode
from terra_core.config.session import Session
from terra_core.config.values import Hostname, ImageReference, Mac, parse_mac
from terra_core.controller.altering import Altering, unfinished
from terra_core.controller.certificates import certificate_of
from terra_core.controller.common_tree import CommonTree
from terra_core.controller.disks import MB, Disks
from terra_core.controller.goldens import Goldens
from terra_core.controller.happening import Kind
from terra_core.controller.laying import Laying
from terra_core.controller.leading import Standing
from terra_core.controller.network_boot import NetworkBoot
from terra_core.controller.pieces import Pieces
from terra_core.controller.portal import Portal
from terra_core.controller.pulled import PulledImages
from terra_core.controller.report_tokens import ReportTokens
from terra_core.controller.reports import Reports, place_of
from terra_core.controller.services import MENDED, YOUNG_SECONDS, Services
from terra_core.controller.store import Record, SetAside, State, Store
from terra_core.controller.tags import Tags
from terra_core.controller.troubles import Troubles
from terra_core.controller.upgrading import Upgrading
from terra_core.controller.wanted import wanted_of
from terra_core.errors import ConflictError, InterruptedWork, TerraError, UnavailableError, reason_of
from terra_core.hookspecs import Boot, Connected, NodeBoot, Role, Storage
from terra_core.image.apply import apply_layers
from terra_core.service.database_server import DatabaseAway
from terra_core.service.operations import Work
from terra_core.system.mounts import mount_points, sweep
from terra_core.system.process import uninterrupted
from terra_core.system.progress import Event, Report, silent
from terra_core.system.undo import Undo, undoing
from terra_core.system.workspace import discard, remove_abandoned

R = TypeVar("R", bound=Role)
M = TypeVar("M", bound=Record | SetAside)
_log = structlog.get_logger(__name__)
_BATCH = 200
"""How many machines are restored in one call: the storage plugin looks once for all of them, while other work waits."""
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,62}[a-z0-9])?")
"""Any text that may be a host name; which of them are given to new machines is for terra_core.config.values to say."""


class Machines:
    """The use cases of a controller.

    :param services: what it works with.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._store = services.store
        self._disks = Disks(config=services.config, session=services.session, plugins=services.plugins)
        self._others: tuple[str, ...] = ()
        self._images = PulledImages(services)
        self._laying = Laying(services.plugins, self._disks)
        self.goldens = Goldens(services, self._laying)
        place = place_of(services.config, self.session.paths, certificate_of(self.session.paths))
        tokens = ReportTokens(services.store.engine, services.store.host)
        self.reports = Reports(tokens, place, services.store.happenings)
        self.pieces = Pieces(services, self._disks, self._laying, self.goldens, self._images)
        self.network_boot, self.common_tree = NetworkBoot(services), CommonTree(services)
        self._boot_image = threading.Lock()
        self.troubles = Troubles()
        self._said: dict[str, str] = {}  # what was logged of machines whose record cannot be read
        self._at_work: Counter[str] = Counter()  # by host name: what is being made, or deleted
        self._counting = threading.Lock()
        self._left: set[tuple[str, int]] = set()  # by name and generation: what was to be undone, and could not be
        self._targets = threading.Lock()  # held while a record and its targets have to agree: export, restore, release
        self._unmade: Sequence[str] = ()
        tags = Tags(lambda image: self._images.digest_of(image, self.session))
        self.altering = Altering(services, self._disks, tags, self._targets, self.start_boot)
        self.upgrading = Upgrading(
            services, self._disks, self._laying, self.goldens, self._images, self.reports, self.altering, self._targets
        )

    @property
    def services(self) -> Services:
        """Return what it works with."""
        return self._services

    @property
    def store(self) -> Store:
        """Return the records."""
        return self._store

    @property
    def session(self) -> Session:
        """Return the controller's own session."""
        return self._services.session

    @property
    def standing(self) -> Standing:
        """Return whether this controller leads among those of its database."""
        return self._services.standing

    @property
    def portal(self) -> Portal:
        """Return the storage address."""
        return self._services.portal

    def reserve(self, document: Document[NetworkNode]) -> Record:
        """Take the name and address of a machine, after the checks that are cheap.

        :raises ConflictError: when another machine holds one of them, the store has no room, or it would not boot.
        """
        wanted = wanted_of(document, self._services)
        self.require_room()
        self.common_tree.require()
        with self._begun(wanted.node.hostname):
            return self._store.reserve(wanted.node, wanted.document, wanted.tables)

    def provision(self, record: Record, report: Report) -> Mapping[str, Any]:
        """Give a reserved machine its disks, and let it boot.

        Any failure undoes every earlier step.

        :returns: the machine as ``terra provision`` prints it.
        """
        session = self._services.session.reporting_to(report)
        hostname = record.node.hostname
        with Undo() as stack:
            stack.callback(self._ended, hostname)
            stack.when_failing(self._undo, hostname, record.generation)
            work = stack.enter_context(self._services.workspace(hostname))
            report(Event("pull", f"pull {record.node.image}"))
            with self._images.pull(record.node.image, record.node.trust, session) as image:
                targets = self._disks.plan(record, self._store.number)
                self._disks.require_room(MB * sum(one.size for kept in targets for one in kept.target.volumes if one.full))
                arguments = tuple(argument for kept in targets for argument in kept.target.kernel_arguments)
                require_further(record.node.kernel_arguments, arguments)
                fit = self._laying.fit(record, targets, image, session)
                self._laying.check_disks(record, image, session)
                record = self._store.save(evolve(record, digest=str(image.digest), targets=targets))
                golden = stack.enter_context(self.goldens.ready(record, image, fit, session))
                if golden is not None:
                    record = self._store.save(evolve(record, layout=golden.layout))
                if golden is not None and self.pieces.may_share(record, golden, fit):
                    record, found, files = self.pieces.have_cloned(record, golden, image, fit, work, session)
                else:
                    stack.enter_context(self._services.sharing.turn(report))
                    found, files = self.pieces.make(record, golden, image, fit, work, session, stack)
                    if golden is not None and self._services.sharing.helped:
                        self.goldens.keep_kernel(golden, files)
            record = evolve(record, kernel_arguments=(*found, *arguments, *record.node.kernel_arguments))
            boot = evolve(record.boot, kernel=files.kernel, initrd=files.initrd, steps=files.steps)
            record = self._hand_over(record, boot, stack, session)
            self.start_boot(session)
        return record.as_json()

    def begin_delete(self, hostname: str) -> Record | SetAside:
        """Mark a machine for removal, for :meth:`delete`; see :meth:`terra_core.controller.store.Store.begin_delete`."""
        with self._begun(hostname):
            return self._store.begin_delete(hostname)

    def delete(self, record: Record | SetAside, report: Report) -> Mapping[str, Any]:
        """Delete a machine; a deletion that was begun is finished, if necessary at the next start of the controller."""
        with Undo() as stack:
            stack.callback(self._ended, record.hostname)
            try:
                report(Event("delete", f"take away the boot files, targets and disks of {record.hostname}"))
            except InterruptedWork as error:
                with undoing(error):
                    self._store.restate(record, _state(record), record.problem)
                raise
            with uninterrupted(), self.altering.busy(record.hostname), self._looking_again():
                self._take_away(record)
        return {"hostname": record.hostname}

    def require_idle(self, hostname: str) -> None:
        """Check that a machine that may run has let go of its disks.

        :raises NotFoundError: when there is none of this name.
        :raises ConflictError: when it is connected to them; says who is, and from where.
        """
        record = self._store.find(hostname)
        if _state(record) != State.READY.value:
            return
        connected = self._disks.connected(record.every_target)
        if connected:
            who = dict.fromkeys(f"{one.name or 'somebody'} from {one.address or 'an unknown address'}" for one in connected)
            raise ConflictError(
                f"{hostname} is logged in to its disks: {', '.join(who)}",
                hint=f"switch it off, and try again a minute later; or take its disks away while it runs: "
                f"terra delete --force {hostname}",
            )

    def connected(self, record: Record | SetAside) -> Sequence[Connected]:
        """Return who is connected to the disks of a machine now.

        :raises TerraError: when a storage service runs and does not say, or is another host's.
        """
        self.standing.require()
        if record.host != self._store.host:
            raise UnavailableError(f"{record.host} has its disks, and does not answer")
        return self._disks.connected(record.every_target)

    def logged(
        self, record: M, what: str, work: Callable[[M, Report], Mapping[str, Any]], *, next_boot: bool = False
    ) -> Work:
        """Return work on a machine that is told of among what happened to it, and how it ended.

        :param what: what it is, in a word.
        :param next_boot: whether the machine has what is done from its next boot on only.
        """
        happenings = self._store.happenings
        record_of = partial(happenings.record, record.hostname, record.generation, Kind.OPERATION)

        def note(text: str, step: str) -> None:
            record_of(f"{what} {text}", {"step": step, "next_boot": next_boot})
            with suppress(TerraError):  # it is written later then; otherwise it is there for whoever asked for the work
                happenings.flush()

        def told(report: Report) -> Mapping[str, Any]:
            note("begins", "begun")
            try:
                done = work(record, report)
            except Exception as error:
                note(f"failed: {error}", "failed")
                if not isinstance(error, TerraError) or error.notes:  # what was begun is not wholly undone
                    self.troubles.look_again()
                raise
            note("is done", "done")
            if isinstance(record, Record) and record.problem:  # which may be over by this
                self.troubles.look_again()
            return done

        record_of(f"{what} is asked for")
        return told

    def unfinished(self) -> Sequence[Record | SetAside]:
        """Find the work that a killed controller had begun, for :meth:`recover`; called before anything new is begun.

        What such work had pulled and copied is removed.
        """
        records = self._store.every()
        self._others = self._other_storages(records)
        for record in records:
            if isinstance(record, SetAside):
                _log.error("a record cannot be read and is set aside", hostname=record.hostname, reason=record.reason)
        self._services.sharing.begin()
        self._images.clean_up()
        self.goldens.begin()
        self.reports.begin(self._store.bootable())
        self._unmade = [record.hostname for record in records if isinstance(record, Record) and record.unmade]
        return list(filter(_is_unfinished, records))

    def recover(self, unfinished: Sequence[Record | SetAside] | None = None) -> None:
        """Finish what a controller that was killed had begun: what is half-made or half-deleted goes, changes are made."""
        for record in self.unfinished() if unfinished is None else unfinished:
            _log.warning("finishing what was begun", hostname=record.hostname, state=_state(record))
            with suppress(TerraError):  # it is in the log and in the record; the other machines go on
                self._take_away(record)
        for hostname in self._unmade:
            with suppress(TerraError):  # as above
                self.altering.finish(hostname)
        self._unmade = []
        self.upgrading.recover()
        self.goldens.recover()

    def take_up(self) -> None:
        """Finish what ended half-way while the database did not answer, as after a restart; who works meanwhile is left alone.

        :raises DatabaseAway: when it does not answer.
        """
        self.altering.settle()
        for hostname in [record.hostname for record in self._store.every() if self._is_left(record)]:
            with self._counting:  # so that nobody begins to work on it while it is looked at again
                record = None if hostname in self._at_work else next(iter(self._store.named([hostname])), None)
            if record is None or not self._is_left(record):
                continue
            _log.warning("finishing what was begun", hostname=hostname, state=_state(record))
            try:
                self._take_away(record)
            except DatabaseAway:
                raise
            except TerraError:  # it is in the log and in the record; the other machines go on
                pass
            self._left.discard((hostname, record.generation))
        self.goldens.take_up()

    def _is_left(self, record: Record | SetAside) -> bool:
        return _is_unfinished(record) or (record.hostname, record.generation) in self._left

    def restore(
        self,
        *,
        lost: bool = False,
        disks_alone: bool = False,
        ended: Callable[[], bool] = lambda: False,
        report: Report = silent,
    ) -> None:
        """Bring lost targets and boot files back; a machine for which that fails keeps its record, with the reason.

        Others may be provisioned and deleted meanwhile.

        :param lost: whether nothing is exported any more, so that each machine waits for its turn.
        :param disks_alone: whether to leave boot files for later, as running machines wait for their disks.
        :param ended: whether to stop half-way.
        :param report: is told what was mended.
        """
        session = self.session.reporting_to(report)
        hostnames = [record.hostname for record in self._store.every()]
        for at in range(0, len(hostnames), _BATCH):
            self.troubles.waits(hostnames[at:] if lost else ())
            if ended():
                return
            with self._targets:
                self._restore(self._store.named(hostnames[at : at + _BATCH]), session, disks_alone=disks_alone)
        self.troubles.waits(())

    def finish_deletions(self, report: Report = silent) -> None:
        """Try deletions again that failed; what fails again is in the log and in the record."""
        for record in self._store.every():
            if _state(record) == State.DELETING.value and record.problem:
                with suppress(TerraError):
                    self._take_away(record)
                    report(Event(MENDED, f"{record.hostname} is deleted, which had failed before"))

    def clean_up(self, report: Report = silent) -> None:
        """Remove what was left by work that nobody does any more: its directories, pulled images, golden volumes."""
        for place in remove_abandoned(self._services.session.paths.work, YOUNG_SECONDS, _remove_place):
            report(Event(MENDED, f"{place} is removed: nobody works there any more"))
        self._images.drop_unneeded()
        self._services.sharing.clear(self.pieces.remove)
        self.goldens.remove_strays()

    def renew_reports(self) -> None:
        """Give machines that have reported, or lack it, what they report their next boots with; called every second."""
        due = self.reports.due()
        if not due:
            return
        publish = self._services.role(Boot).publish_boot
        try:
            with self._targets:
                ready = [one for one in self._store.named(due) if isinstance(one, Record) and one.state is State.READY]
                boots = [
                    evolve(self.upgrading.making.boot_of(record), report=boot.report)
                    for record, boot in zip(ready, self.reports.issue(ready), strict=True)
                ]
                reasons = {boot.hostname: reason_of(partial(publish, boot, self.session)) for boot in boots}
                self.reports.published([hostname for hostname, reason in reasons.items() if not reason])
        except TerraError as error:
            reasons = {Hostname(hostname): str(error) for hostname in due}
        self.reports.drop(set(due) - set(reasons))
        self.reports.put_off({hostname: reason for hostname, reason in reasons.items() if reason})

    def start_boot(self, session: Session) -> bool:
        """Make sure that the network boot service answers, and knows every machine; return whether it was started again."""
        return self.network_boot.start(session)

    @property
    def storages(self) -> Sequence[str]:
        """The storage plugins that machines have their targets from, and the selected one."""
        return (self._services.role(Storage).plugin, *self._others)

    def start_storage(self) -> bool:
        """Start the storage services that do not answer; return whether one had to be started."""
        return self._disks.start(self._others)

    def require_room(self) -> None:
        """Check that the store has more room than it keeps for the machines that there are.

        :raises ConflictError: when it has not.
        """
        self._disks.require_room()

    def was_cut(self) -> bool:
        """Return whether the database failed since this was asked last, so that :meth:`take_up` has to be called."""
        return self._store.was_cut()

    def is_cut(self) -> None:
        """Have :meth:`was_cut` say so again."""
        self._store.cut()

    def keep_room(self) -> None:
        """Keep what a delete on a full disk needs."""
        self._store.keep_room()

    def trouble(self) -> str:
        """Return what keeps all machines from booting, for other hosts to say; an empty string for nothing."""
        return self.troubles.of("")

    def problems(self) -> Sequence[str]:
        """Say what keeps machines from being as the database says, a line for each."""
        rows = [record.as_row() for record in self._store.every()]
        return [f"{row['hostname']}: {row['problem']}" for row in rows if row["problem"]]

    def stop_unused_storage(self) -> None:
        """Stop the storage service, unless there is a machine that may have its disks on it."""
        if not self._store.every():
            self._disks.stop(self._others)

    def leave(self) -> None:
        """Stop what serves machines here, for another host to serve them: no disk is open at two.

        :raises TerraError: when a service does not stop.
        """
        with suppress(TerraError):  # it is written when this host leads again
            self._store.happenings.flush()
        with self._targets:
            self.network_boot.stop(self.session)
            self._disks.leave(self.storages)
        self._left.clear()
        self.troubles.clear()

    def install_boot_image(self, reference: ImageReference, report: Report) -> Mapping[str, Any]:
        """Install the network boot loaders of a pxe image."""
        session = self._services.session.reporting_to(report)
        with self._boot_image, self._services.workspace("pxe") as work, Undo() as stack:
            stack.enter_context(self._images.keeping(str(reference)))
            image = stack.enter_context(self._images.pull(reference, None, session))
            tree = work / "tree"
            tree.mkdir()
            apply_layers(image, tree, report=report)
            files = self._services.role(Boot).install_boot_image(tree, session)
        self.start_boot(session)
        return {"image": str(reference), "digest": str(image.digest), "files": sorted(files)}

    def _other_storages(self, records: Sequence[Record | SetAside]) -> tuple[str, ...]:
        """Return the storage plugins that machines have their targets from, beside the selected one."""
        selected = self._services.role(Storage).plugin
        return tuple(sorted({kept.storage for record in records for kept in record.every_target} - {selected}))

    def _hand_over(self, record: Record, boot: NodeBoot, stack: Undo, session: Session) -> Record:
        with self._targets:
            session.report(Event("export", f"export {', '.join(kept.target.name for kept in record.targets)}"))
            with Undo() as given:
                for kept in record.targets:
                    self._disks.provision(kept, given, session)
                stack.push(self._under_lock(given.pop_all()))
            session.report(Event("publish", f"publish the boot files of {record.node.hostname}"))
            (token,) = self.reports.issue([record])
            self._services.role(Boot).publish_boot(evolve(boot, report=token.report), session)
            self.reports.published([record.hostname])
            return self._store.save(evolve(record, state=State.READY))

    def _under_lock(self, own: ExitStack) -> Callable[[Any, Any, Any], bool | None]:
        """Return what leaves a stack while nobody else changes targets; whoever calls it does not hold the lock."""

        def leave(kind: Any, error: Any, trace: Any) -> bool | None:  # the signature of __exit__
            with self._targets:
                return own.__exit__(kind, error, trace)

        return leave

    def _restore(self, records: Sequence[Record | SetAside], session: Session, *, disks_alone: bool) -> None:
        """Export the targets of machines again; of machines that are set aside, those that can be read."""
        ready = [record for record in records if _state(record) == State.READY.value]
        targets = [kept for record in ready for kept in record.exported]
        reasons = iter(self._disks.restore(targets, session))
        for record in ready:
            own = [next(reasons) for kept in record.exported]
            problem = next(filter(None, own), "")
            if not disks_alone:
                problem = problem or self._publish(record, session) or unfinished(record)
            if problem or not disks_alone:
                self._note(record, problem, session)

    def _note(self, record: Record | SetAside, problem: str, session: Session) -> None:
        """Note what is wrong with a machine, or that nothing is any more; say it once."""
        former = record.problem if isinstance(record, Record) else self._said.get(record.hostname, "")
        self._said[record.hostname] = problem
        if problem and problem != former:
            _log.error("quarantined", hostname=record.hostname, reason=problem)
        if former and not problem:
            session.report(Event(MENDED, f"{record.hostname} can boot again"))
        if isinstance(record, Record) and problem != former:
            self._store.set_problem(record, problem, state=record.state.value)
            said = problem or "what kept it from booting is over"
            self._store.happenings.record(record.hostname, record.generation, Kind.PROBLEM, said)

    def _publish(self, record: Record | SetAside, session: Session) -> str:
        """Publish the boot files of a machine; return why that failed, or an empty string."""
        if record.boot is None:
            return ""
        try:
            boot = self.upgrading.making.boot_of(record) if isinstance(record, Record) else record.boot
            if self._services.role(Boot).publish_boot(boot, session):
                self.reports.lacks(record.hostname)  # what had to be mended may have been that file
                session.report(Event(MENDED, f"the boot files of {record.hostname} are written again"))
        except InterruptedWork:
            raise
        except TerraError as error:
            return str(error)
        return ""

    @contextmanager
    def _begun(self, hostname: str) -> Iterator[None]:
        """Count a machine as one that is worked on from before the database knows it on, unless that fails."""
        with Undo() as undo:
            with self._counting:
                self._at_work[hostname] += 1
            undo.when_failing(self._ended, hostname)
            yield

    def _ended(self, hostname: str) -> None:
        with self._counting:
            self._at_work[hostname] -= 1
            if self._at_work[hostname] <= 0:
                del self._at_work[hostname]

    def _undo(self, hostname: str, generation: int) -> None:
        # What fails is in the log and in the record; the client is told why the work failed.
        with uninterrupted(), suppress(TerraError), self._looking_again():
            try:
                self._take_away(self._store.get(hostname))
            except DatabaseAway:  # whatever its record says by then
                self._left.add((hostname, generation))
                raise

    @contextmanager
    def _looking_again(self) -> Iterator[None]:
        """Have everything looked at soon when work fails that removes something."""
        try:
            yield
        except TerraError:
            self.troubles.look_again()
            raise

    def _take_away(self, record: Record | SetAside) -> None:
        """Remove all that a machine has, and then its record; what fails is noted there, so that it can be tried again."""
        session = self.session
        hostname = record.hostname
        try:
            with self._targets:
                if not self._store.holds(record):
                    return
                if isinstance(record, Record) or _is_name(record):
                    self._services.role(Boot).withdraw_boot(Hostname(hostname), Mac(record.mac), session)
                self._disks.release(record)
                if isinstance(record, SetAside) and not record.whole:
                    self._release_unknown(record)
                self.upgrading.making.forget_files(record)
                self.goldens.leave(record.hostname)
                self.reports.forget(record.hostname, record.generation)
                self._store.forget(record)
        except TerraError as error:
            _log.error("cannot be taken away", hostname=hostname, reason=str(error))
            with undoing(error):
                self._store.restate(record, State.DELETING.value, f"cannot be taken away: {error}")
            raise
        for image in record.images if isinstance(record, Record) else (record.image,):
            self._images.drop(image)
        self.start_boot(session)

    def _release_unknown(self, record: SetAside) -> None:
        if _is_name(record):
            self._disks.release_unknown(Hostname(record.hostname))
        else:
            _log.warning("its record does not say which targets it had: they may be left", hostname=record.hostname)


def _remove_place(place: Path) -> None:
    """Remove a directory for work, unless something stays mounted in it, whose files are not Terra's to remove."""
    sweep(place, place)
    if not any(place in point.path.parents for point in mount_points()):
        discard(place)


def _state(record: Record | SetAside) -> str:
    return record.state.value if isinstance(record, Record) else record.state


def _is_unfinished(record: Record | SetAside) -> bool:
    """Return whether a machine is half-made or half-deleted."""
    making = isinstance(record, Record) and record.state is State.PROVISIONING
    return making or _state(record) == State.DELETING.value


def _is_name(record: SetAside) -> bool:
    """Return whether name and address of an unreadable row are safe for a plugin to use in paths and arguments."""
    with suppress(ValueError):
        return _NAME.fullmatch(record.hostname) is not None and parse_mac(record.mac) == record.mac
    return False
