"""The next version of a machine's system, from an image, and the way back; see docs/decisions/0092."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

import structlog
from attrs import evolve

from terra_core.client.answers import UpgradePlanShown
from terra_core.config.session import Session
from terra_core.config.values import ImageReference
from terra_core.controller.altering import Altering
from terra_core.controller.disks import Connections, Disks
from terra_core.controller.golden import Golden
from terra_core.controller.goldens import Goldens
from terra_core.controller.happening import BootProgress, Kind, Stage
from terra_core.controller.laying import Laying
from terra_core.controller.making import Making, next_of, other_of, upgrade_of, with_other
from terra_core.controller.pulled import PulledImages
from terra_core.controller.records import BootLine, Phase, Record, State, Upgrade, Version
from terra_core.controller.reports import Reports
from terra_core.controller.services import Services
from terra_core.controller.trying import Outcome, Seen, outcome_of
from terra_core.controller.upgrade_plan import planned
from terra_core.errors import ConflictError, InterruptedWork, TerraError
from terra_core.hookspecs import Boot
from terra_core.service.running import Unending
from terra_core.system.process import uninterrupted
from terra_core.system.progress import Event, Report
from terra_core.system.undo import Undo

_log = structlog.get_logger(__name__)
_PAUSE_SECONDS = 60.0
"""How long a step that failed waits for another try."""


class Upgrading:
    """Upgrades machines, and brings them back. May be used from several threads; one machine is changed by one at a time.

    :param services: what the controller works with.
    :param disks: the volumes and targets of machines.
    :param laying: lays images down.
    :param goldens: what is laid down once for all machines.
    :param images: pulls images.
    :param reports: has the tokens for the boot files.
    :param altering: keeps others from changing a machine meanwhile.
    :param targets: the lock that is held while a record, its targets and its boot files have to agree.
    """

    def __init__(
        self,
        services: Services,
        disks: Disks,
        laying: Laying,
        goldens: Goldens,
        images: PulledImages,
        reports: Reports,
        altering: Altering,
        targets: threading.Lock,
    ) -> None:
        self._services, self._store = services, services.store
        self._disks, self._laying, self._goldens, self._images = disks, laying, goldens, images
        self._reports, self._altering, self._targets = reports, altering, targets
        self._making = Making(services, disks, goldens, targets)
        self._not_before: dict[str, float] = {}
        self._looking = Unending("upgrades do not go on")

    def plan(self, hostname: str, image: ImageReference) -> UpgradePlanShown:
        """Return what an upgrade would do; change nothing.

        :raises ConflictError: when the machine cannot be upgraded now, or the registry does not say what the image is.
        """
        record = self.require_able(hostname)
        try:
            digest = self._images.digest_of(image, self._services.session)
        except TerraError as error:  # a registry that is away is no fault of this controller
            raise ConflictError(f"what {image} is cannot be told: {error.message}", hint=error.hint) from error
        return planned(record, str(image), digest, off=self._is_off(record), keep=self._services.config.upgrade.keep_former)

    def upgrade(self, record: Record, image: ImageReference, report: Report) -> Mapping[str, Any]:
        """Make the next version of a machine; of one that is off, take over what is its own, and let it boot that.

        :returns: the machine as the API shows it.
        :raises ConflictError: when it cannot be upgraded now.
        """
        session = self._services.session.reporting_to(report)
        hostname = record.hostname
        with self._altering.busy(hostname), Undo() as undo:
            record = self.require_able(hostname)
            work = undo.enter_context(self._services.workspace(hostname))
            undo.enter_context(self._images.keeping(str(image)))
            report(Event("pull", f"pull {image}"))
            source = undo.enter_context(self._images.pull(image, record.node.trust, session))
            if str(source.digest) == record.digest:
                return record.as_row()
            record = self._without_other(record, None)
            targets, scratch = self._disks.plan_version(record, self._store.number)
            digest = str(source.digest)
            other = Version(image=str(image), digest=digest, layout="", targets=targets)
            begun = Upgrade(
                phase=Phase.PREPARING, image=str(image), digest=digest, since=time.time(), other=other, scratch=scratch
            )
            record = self._exchange(record, evolve(record, upgrade=begun))
            undo.when_failing(self._abandon, hostname)
            self._disks.require_room()
            next_one = next_of(record)
            fit = self._laying.fit(next_one, with_other(record), source, session)
            self._laying.check_disks(next_one, source, session)
            golden = undo.enter_context(self._goldens.ready(next_one, source, fit, session))
            if golden is None:
                raise TerraError(
                    f"{hostname} cannot be upgraded: its filesystem plugin gives no copy an identity of its own"
                )
            self._making.keep_files(record, session)
            off = self._is_off(record)
            words = self._making.fill(record, golden, fit.places, session, work, fit=fit, carry=off)
            record = self._made(record, golden, words, fit.places)
            if off:
                self._switch(record, session)
        return self._store.get(hostname).as_row()

    def rollback(self, record: Record, report: Report) -> Mapping[str, Any]:
        """Bring a machine back to its former version at its next start, or end an upgrade that it has not begun.

        :returns: the machine as the API shows it.
        :raises ConflictError: when there is no version to go back to.
        """
        session = self._services.session.reporting_to(report)
        with self._altering.busy(record.hostname):
            record = self._store.get(record.hostname)
            upgrade = self._require_way_back(record)
            if upgrade.phase in (Phase.PREPARING, Phase.WAITING):
                report(Event("rollback", f"{record.hostname} keeps its version: what was made of {upgrade.image} goes"))
                record = self._without_other(record, self._left(upgrade, "it was ended before the machine had it"))
            elif upgrade.phase in (Phase.TRIAL, Phase.KEPT):
                self._return(record, "it was asked for", session)
        return self._store.get(record.hostname).as_row()

    def require_able(self, hostname: str) -> Record:
        """Return a machine that can be upgraded now.

        :raises ConflictError: when it cannot.
        """
        record = self._store.get(hostname)
        self._require_able(record)
        return record

    def require_way_back(self, hostname: str) -> Record:
        """Return a machine that can be brought back.

        :raises ConflictError: when there is no version to go back to.
        """
        record = self._store.get(hostname)
        self._require_way_back(record)
        return record

    def look(self) -> None:
        """Go on with every upgrade as far as what machines do allows; called every few seconds."""
        with self._looking.turn():
            self._look()

    def _look(self) -> None:
        now = time.monotonic()
        changing = [
            record
            for record in self._store.every()
            if isinstance(record, Record) and record.upgrade is not None and record.upgrade.other is not None
        ]
        due = [record.hostname for record in changing if self._not_before.get(record.hostname, 0.0) <= now]
        if not due:
            return
        connections = self._disks.connections(kept.storage for record in changing for kept in record.every_target)
        for hostname in due:
            with self._altering.unless_busy(hostname) as free:
                if free:
                    self._try(hostname, connections)

    @property
    def making(self) -> Making:
        """What makes other versions, and has the boot files of machines that have one."""
        return self._making

    def recover(self) -> None:
        """Remove what a controller that was killed had begun to make, and take away what a machine shall not reach."""
        for record in self._store.every():
            if not isinstance(record, Record) or record.upgrade is None:
                continue
            with suppress(TerraError), self._altering.busy(record.hostname):
                self._disks.drop(record.upgrade.scratch)
                if record.upgrade.phase is Phase.PREPARING:
                    self._abandon(record.hostname)
                    continue
                with self._targets:
                    exported = {kept.target.id for kept in record.exported}
                    for kept in (one for one in record.every_target if one.target.id not in exported):
                        self._disks.withdraw(kept)

    # What happens while the machine is made ready

    def _require_able(self, record: Record) -> None:
        hostname = record.hostname
        if record.state is not State.READY:
            raise ConflictError(f"{hostname} is {record.state.value}", hint="wait for the end of it")
        if record.under_way is not None:
            raise ConflictError(
                f"{hostname} is being upgraded to {record.under_way.image}: {record.under_way.phase.value}",
                hint=f"wait for the end of it, or end it: terra rollback {hostname}",
            )
        if record.unmade:
            raise ConflictError(f"{hostname} is being changed", hint="wait for the end of it; see terra status")
        (system,) = record.system
        if not self._disks.tells_connected(system):
            raise ConflictError(f"whether {hostname} is off cannot be told: the storage plugin {system.storage!r} does not say")
        boot = self._services.role(Boot)
        if not boot.brings("keep_boot"):
            raise ConflictError(f"the boot plugin {boot.plugin!r} cannot give {hostname} its former boot files back")

    def _require_way_back(self, record: Record) -> Upgrade:
        upgrade = record.upgrade
        if upgrade is None or upgrade.other is None or upgrade.phase is Phase.RETURNING:
            more = ": it goes back already" if upgrade is not None and upgrade.phase is Phase.RETURNING else ""
            raise ConflictError(f"{record.hostname} has no version to go back to{more}", hint="terra status shows what it has")
        sizes = [volume.size for kept in upgrade.other.targets for volume in kept.target.volumes]
        if sizes != [volume.size for kept in record.system for volume in kept.target.volumes]:
            raise ConflictError(
                f"the disk of {record.hostname} was made larger since the upgrade, and its former version has the smaller one",
                hint="upgrade it to the former image: terra upgrade HOST --image IMAGE",
            )
        return upgrade

    def _made(self, record: Record, golden: Golden, words: Sequence[str], places: Mapping[str, str]) -> Record:
        """Note that the other version is there."""
        upgrade, other = upgrade_of(record), other_of(record)
        targets = tuple(evolve(kept, made=True) for kept in other.targets)
        ready = evolve(other, targets=targets, layout=golden.layout, words=tuple(words))
        changed = evolve(upgrade, phase=Phase.WAITING, since=time.time(), other=ready, places=dict(places))
        return self._exchange(record, evolve(record, upgrade=changed))

    # What happens by itself

    def _try(self, hostname: str, connections: Connections) -> None:
        """Go on with an upgrade, which nobody else does meanwhile; what fails is tried again in a while."""
        try:
            record = self._store.find(hostname)
            if isinstance(record, Record) and record.state is State.READY:
                self._go_on(record, connections)
            self._not_before.pop(hostname, None)
        except InterruptedWork:
            raise
        except Exception as error:  # the boundary of the thread: the other machines go on
            self._not_before[hostname] = time.monotonic() + _PAUSE_SECONDS
            _log.error("an upgrade does not go on", hostname=hostname, reason=str(error) or repr(error))
            with suppress(TerraError):
                self._tell(hostname, f"the upgrade does not go on, and is tried again in a minute: {error}")

    def _go_on(self, record: Record, connections: Connections) -> None:
        session, upgrade = self._services.session, record.upgrade
        if upgrade is None or upgrade.other is None:
            return
        if upgrade.phase is Phase.PREPARING:
            self._abandon(record.hostname)
        elif upgrade.phase is Phase.WAITING:
            if self._is_off(record):
                self._carry_out(record, session)
        elif upgrade.phase is Phase.TRIAL:
            self._follow(record, upgrade, connections, session)
        elif upgrade.phase is Phase.RETURNING:
            if self._has_left(record, upgrade.other):
                self._without_other(record, self._left(upgrade, upgrade.reason))
                self._tell(record.hostname, f"has its former version again: {upgrade.reason}")
        elif time.time() - upgrade.since >= self._services.config.upgrade.keep_former:
            self._without_other(record, None)

    def _carry_out(self, record: Record, session: Session) -> None:
        """Take over what is the machine's own, which was switched off just now, and let it boot the other version."""
        upgrade, other = upgrade_of(record), other_of(record)
        golden = self._goldens.laid(other.layout)
        if golden is None:
            gone = "what the image is laid down on is not there any more"
            self._without_other(record, self._left(upgrade, f"{gone}: upgrade the machine again"))
            self._tell(record.hostname, f"is not upgraded to {upgrade.image}: {gone}")
            return
        with self._services.workspace(record.hostname) as work:
            words = self._making.fill(record, golden, upgrade.places, session, work, fit=None, carry=True)
        record = self._exchange(record, evolve(record, upgrade=evolve(upgrade, other=evolve(other, words=words))))
        self._switch(record, session)

    def _switch(self, record: Record, session: Session) -> None:
        """Let a machine boot its other version, once; if it has come back meanwhile, it does so after it was off again."""
        upgrade = upgrade_of(record)
        with self._targets:
            if self._disks.connected(record.targets):
                return
            boot = self._store.happenings.boot(record.hostname, record.generation)
            seen = str(boot.report.get("boot_id", ""))
            turned = record.swapped()
            trial = evolve(upgrade_of(turned), phase=Phase.TRIAL, since=time.time(), seen=seen, reason="")
            record = self._exchange(record, evolve(turned, upgrade=trial))
            self._settle(record, session)
        session.report(Event("switch", f"{record.hostname} boots {upgrade.image} when it is switched on"))
        self._tell(record.hostname, f"boots {upgrade.image} at its next start, on trial")

    def _follow(self, record: Record, upgrade: Upgrade, connections: Connections, session: Session) -> None:
        """See what has become of a trial."""
        other = other_of(record)
        boot = self._store.happenings.boot(record.hostname, record.generation)
        report = boot.report if boot.report.get("boot_id", "") != upgrade.seen else {}
        seen = Seen(
            on_next=bool(self._disks.connected(record.system, connections)),
            on_former=bool(self._disks.connected(other.targets, connections)),
            booting=_since_booting(boot, upgrade, time.time()),
            report=report if report.get("image") == record.digest else {},
        )
        outcome, reason = outcome_of(upgrade, seen, time.time(), self._services.config.upgrade.timeout)
        if outcome is Outcome.AGAIN:
            with self._targets:
                turned = record.swapped()
                waiting = evolve(upgrade_of(turned), phase=Phase.WAITING, since=time.time())
                self._settle(self._exchange(record, evolve(turned, upgrade=waiting)), session)
            self._tell(record.hostname, "had begun to boot its former version: it is upgraded when it is off again")
        elif outcome is Outcome.BEGUN:
            back = record.swapped()
            line = BootLine(digest=back.digest, kernel_arguments=back.kernel_arguments)
            with self._targets:
                begun = evolve(upgrade, back=line, since=time.time())
                self._settle(self._exchange(record, evolve(record, upgrade=begun)), session)
            self._tell(
                record.hostname, f"has begun its trial of {upgrade.image}; its boot files lead to the former version now"
            )
        elif outcome is Outcome.WELL:
            with self._targets:
                kept = evolve(upgrade, phase=Phase.KEPT, since=time.time(), back=None)
                self._settle(self._exchange(record, evolve(record, upgrade=kept)), session)
            self._tell(record.hostname, f"is upgraded to {upgrade.image}: it has booted, and is well")
        elif outcome is Outcome.UNWELL:
            self._return(record, reason, session)

    def _return(self, record: Record, reason: str, session: Session) -> None:
        """Let a machine boot its former version from its next start on."""
        with self._targets:
            turned = record.swapped()
            going = evolve(upgrade_of(turned), phase=Phase.RETURNING, since=time.time(), reason=reason)
            self._settle(self._exchange(record, evolve(turned, upgrade=going)), session)
        session.report(Event("rollback", f"{record.hostname} boots {turned.node.image} at its next start"))
        self._tell(record.hostname, f"goes back from {upgrade_of(record).image} at its next start: {reason}")

    def _settle(self, record: Record, session: Session) -> None:
        """Export and publish what a record says, where ``targets`` is held; what fails is tried again with every machine's."""
        exported = {kept.target.id for kept in record.exported}
        with uninterrupted():
            for kept in record.every_target:
                if kept.target.id not in exported:
                    self._disks.withdraw(kept)
            reasons = [reason for reason in self._disks.restore(record.exported, session) if reason]
            (token,) = self._reports.issue([record])
            self._services.role(Boot).publish_boot(evolve(self._making.boot_of(record), report=token.report), session)
            self._reports.published([record.hostname])
        if reasons:
            raise TerraError(f"{record.hostname} cannot reach its disks: {reasons[0]}")

    def _without_other(self, record: Record, left: Upgrade | None) -> Record:
        """Remove the other version of a machine, and all that was kept for it.

        :param left: what is kept of the upgrade.
        """
        upgrade = record.upgrade
        if upgrade is None:
            return record
        with uninterrupted(), self._targets:
            for kept in upgrade.other.targets if upgrade.other is not None else ():
                self._disks.clear(kept)
            self._disks.drop(upgrade.scratch)
            record = self._exchange(record, evolve(record, upgrade=left))
            self._making.forget_files(record)
        if upgrade.other is not None:
            self._images.drop(upgrade.other.image)
        return record

    def _abandon(self, hostname: str) -> None:
        """Remove what was begun of an upgrade that did not come to its end."""
        record = self._store.find(hostname)
        if isinstance(record, Record) and record.upgrade is not None and record.upgrade.phase is Phase.PREPARING:
            _log.warning("removing what was begun", hostname=hostname, image=record.upgrade.image)
            self._without_other(record, self._left(record.upgrade, "it could not be prepared"))

    def _left(self, upgrade: Upgrade, reason: str) -> Upgrade:
        return Upgrade(phase=Phase.LEFT, image=upgrade.image, digest=upgrade.digest, since=time.time(), reason=reason)

    def _is_off(self, record: Record) -> bool:
        """Return whether a machine has let go of its disks: for a while, as one does not that only lost its connection."""
        boot = self._store.happenings.boot(record.hostname, record.generation)
        return boot.stage in (Stage.OFF, Stage.AWAY) and not self._disks.connected(record.exported)

    def _has_left(self, record: Record, other: Version) -> bool:
        """Return whether a machine runs no longer on a version that goes."""
        if self._disks.connected(other.targets):
            return False
        return bool(self._disks.connected(record.system)) or self._is_off(record)

    def _exchange(self, former: Record, record: Record) -> Record:
        return self._store.exchange(former, record)

    def _tell(self, hostname: str, text: str) -> None:
        record = self._store.find(hostname)
        self._store.happenings.record(record.hostname, record.generation, Kind.OPERATION, text)
        _log.info("upgrade", hostname=hostname, said=text)


def _since_booting(boot: BootProgress, upgrade: Upgrade, now: float) -> float | None:
    """Return for how many seconds a machine has been booting, if it began since an upgrade came to its phase."""
    if boot.stage is Stage.BOOTING:
        with suppress(ValueError):
            began = datetime.fromisoformat(boot.since).timestamp()
            return now - began if began >= upgrade.since else None
    return None


