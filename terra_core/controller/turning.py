"""Giving a machine its other version in place of the one that it has; see docs/decisions/0092."""

from __future__ import annotations

import threading
import time

import structlog
from attrs import evolve, frozen

from terra_core.config.session import Session
from terra_core.controller.disks import Connections, Disks
from terra_core.controller.happening import Kind, Stage
from terra_core.controller.making import Making, upgrade_of
from terra_core.controller.pulled import PulledImages
from terra_core.controller.records import BootLine, Phase, Record, Upgrade, Version
from terra_core.controller.reports import Reports
from terra_core.controller.services import Services
from terra_core.errors import TerraError
from terra_core.hookspecs import Boot
from terra_core.system.process import uninterrupted
from terra_core.system.progress import Event

_log = structlog.get_logger(__name__)


@frozen
class Turning:
    """Turns machines from one version to the other; each begins with one write of the record, and what follows can be repeated.

    May be used from several threads, by those who keep everybody else from changing the machine meanwhile.

    :param services: what the controller works with.
    :param disks: the volumes and targets of machines.
    :param images: drops what was pulled.
    :param reports: has the tokens for the boot files.
    :param making: has the boot files of machines with another version.
    :param targets: the lock that is held while a record, its targets and its boot files have to agree.
    """

    _services: Services
    _disks: Disks
    _images: PulledImages
    _reports: Reports
    _making: Making
    _targets: threading.Lock

    def to_next(self, record: Record, session: Session) -> None:
        """Let a machine boot its next version, once; if it has come back meanwhile, it does so after it was off again."""
        upgrade = upgrade_of(record)
        with self._targets:
            if self._disks.connected(record.targets):
                return
            boot = self._services.store.happenings.boot(record.hostname, record.generation)
            seen = str(boot.report.get("boot_id", ""))
            turned = record.swapped()
            trial = evolve(upgrade_of(turned), phase=Phase.TRIAL, since=time.time(), seen=seen, reason="")
            self._settle(self.exchange(record, evolve(turned, upgrade=trial)), session)
        session.report(Event("switch", f"{record.hostname} boots {upgrade.image} when it is switched on"))
        self.tell(record, f"boots {upgrade.image} at its next start, on trial")

    def to_wait(self, record: Record, session: Session) -> None:
        """Let a machine wait again, which had begun to boot its former version when it was given the next one."""
        turned = record.swapped()
        waiting = evolve(upgrade_of(turned), phase=Phase.WAITING, since=time.time())
        said = "had begun to boot its former version: it is upgraded when it is off again"
        self.turn(record, evolve(turned, upgrade=waiting), said, session)

    def begun(self, record: Record, session: Session) -> None:
        """Let the boot files of a machine that has begun its trial lead to the former version."""
        upgrade, back = upgrade_of(record), record.swapped()
        line = BootLine(digest=back.digest, kernel_arguments=back.kernel_arguments)
        begun = evolve(upgrade, back=line, since=time.time())
        said = f"has begun its trial of {upgrade.image}; its boot files lead to the former version now"
        self.turn(record, evolve(record, upgrade=begun), said, session)

    def keep(self, record: Record, session: Session) -> None:
        """Let a machine keep the version that was on trial."""
        upgrade = upgrade_of(record)
        kept = evolve(upgrade, phase=Phase.KEPT, since=time.time(), back=None)
        said = f"is upgraded to {upgrade.image}: it has booted, and is well"
        self.turn(record, evolve(record, upgrade=kept), said, session)

    def back(self, record: Record, reason: str, session: Session) -> None:
        """Let a machine boot its former version from its next start on.

        :param reason: why.
        """
        turned = record.swapped()
        going = evolve(upgrade_of(turned), phase=Phase.RETURNING, since=time.time(), reason=reason)
        said = f"goes back from {upgrade_of(record).image} at its next start: {reason}"
        self.turn(record, evolve(turned, upgrade=going), said, session)
        session.report(Event("rollback", f"{record.hostname} boots {turned.node.image} at its next start"))

    def turn(self, former: Record, record: Record, said: str, session: Session) -> None:
        """Make a machine what a record says, and tell it.

        :param former: the machine as it is known to be.
        :param said: what happens to it by that.
        :raises ConflictError: when it is not what it was any more.
        :raises TerraError: when it cannot reach its disks then.
        """
        with self._targets:
            self._settle(self.exchange(former, record), session)
        self.tell(record, said)

    def without_other(self, record: Record, left: Upgrade | None) -> Record:
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
            record = self.exchange(record, evolve(record, upgrade=left))
            self._making.forget_files(record)
        if upgrade.other is not None:
            self._images.drop(upgrade.other.image)
        return record

    def abandon(self, hostname: str) -> None:
        """Remove what was begun of an upgrade that did not come to its end."""
        record = self._services.store.find(hostname)
        if isinstance(record, Record) and record.upgrade is not None and record.upgrade.phase is Phase.PREPARING:
            _log.warning("removing what was begun", hostname=hostname, image=record.upgrade.image)
            self.without_other(record, left_by(record.upgrade, "it could not be prepared"))

    def is_off(self, record: Record, connections: Connections | None = None) -> bool:
        """Return whether a machine has let go of its disks: for a while, as one does not that only lost its connection.

        :param connections: as they were a moment ago; those of now when left out.
        """
        boot = self._services.store.happenings.boot(record.hostname, record.generation)
        return boot.stage in (Stage.OFF, Stage.AWAY) and not self._disks.connected(record.exported, connections)

    def has_left(self, record: Record, other: Version, connections: Connections | None = None) -> bool:
        """Return whether a machine runs no longer on a version that goes.

        :param connections: as for :meth:`is_off`.
        """
        if self._disks.connected(other.targets, connections):
            return False
        return bool(self._disks.connected(record.system, connections)) or self.is_off(record, connections)

    def exchange(self, former: Record, record: Record) -> Record:
        """Write what a machine shall be in place of what it was.

        :raises ConflictError: when it is not what it was any more.
        """
        return self._services.store.exchange(former, record)

    def tell(self, record: Record, text: str) -> None:
        """Record what happened to a machine."""
        self._services.store.happenings.record(record.hostname, record.generation, Kind.OPERATION, text)
        _log.info("upgrade", hostname=record.hostname, said=text)

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


def left_by(upgrade: Upgrade, reason: str) -> Upgrade:
    """Return what is kept of an upgrade whose version is gone.

    :param reason: why.
    """
    return Upgrade(phase=Phase.LEFT, image=upgrade.image, digest=upgrade.digest, since=time.time(), reason=reason)
