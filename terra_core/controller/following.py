"""Going on with upgrades as far as what machines do allows; see docs/decisions/0092."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime

import structlog
from attrs import evolve

from terra_core.config.session import Session
from terra_core.controller.ages import Ages
from terra_core.controller.altering import Altering
from terra_core.controller.disks import Connections, Disks
from terra_core.controller.happening import BootProgress, Stage
from terra_core.controller.making import Making, other_of, upgrade_of
from terra_core.controller.records import Phase, Record, State, Upgrade
from terra_core.controller.restored import Found, found_out
from terra_core.controller.services import Services
from terra_core.controller.trying import Outcome, Seen, outcome_of
from terra_core.controller.turning import Turning, left_by
from terra_core.errors import InterruptedWork, TerraError
from terra_core.service.running import Unending
from terra_core.system.process import interruption

_log = structlog.get_logger(__name__)
_PAUSE_SECONDS = 60.0
"""How long a step that failed waits for another try."""
_RESTORED = "a backup was restored"


class Following:
    """Goes on with the upgrades of machines. What is a machine's own is taken over in threads of its own, for several at once.

    :param services: what the controller works with.
    :param disks: the volumes and targets of machines.
    :param making: makes next versions.
    :param turning: gives machines their other version.
    :param altering: keeps others from changing a machine meanwhile.
    """

    def __init__(
        self, services: Services, disks: Disks, making: Making, turning: Turning, altering: Altering
    ) -> None:  # fmt: skip
        self._services, self._store = services, services.store
        self._disks, self._making = disks, making
        self._turning, self._altering = turning, altering
        self._not_before: dict[str, float] = {}
        self._ages = Ages()
        self._looking = Unending("upgrades do not go on")
        self._carrying: set[str] = set()
        self._pool = ThreadPoolExecutor(services.config.jobs, thread_name_prefix="carry")
        self._ended = threading.Event()

    def look(self) -> None:
        """Go on with every upgrade as far as what machines do allows; called every few seconds.

        What takes long is begun, and goes on when this has returned.
        """
        with self._looking.turn():
            self._look()

    def end(self) -> None:
        """End what was begun; the next start of the controller begins it anew."""
        self._ended.set()
        self._pool.shutdown(cancel_futures=True)

    @property
    def carrying(self) -> bool:
        """Whether something that was begun goes on."""
        return bool(self._carrying)

    def _look(self) -> None:
        now, records = time.monotonic(), [record for record in self._store.every() if isinstance(record, Record)]
        self._ages.look({record.hostname for record in records})
        due = [
            record for record in records if self._is_due(record) and self._not_before.get(record.hostname, 0.0) <= now
        ]
        if not due:
            return
        connections = self._disks.connections(kept.storage for record in due for kept in record.every_target)
        switched_off: list[str] = []
        for record in due:
            self._try(record.hostname, lambda found: self._go_on(found, connections, switched_off))
        for hostname in switched_off:  # not before: a thread of the pool leaves a machine alone that is being looked at
            self._carrying.add(hostname)
            self._pool.submit(self._carry, hostname)

    def _is_due(self, record: Record) -> bool:
        """Return whether anything may have to be done: most machines have a former version, which nobody asks for for days."""
        upgrade = record.upgrade
        if upgrade is None or upgrade.other is None:
            return False
        over = self._age(record, upgrade) >= self._services.config.upgrade.keep_former
        return upgrade.restored or upgrade.phase is not Phase.KEPT or over

    def _age(self, record: Record, upgrade: Upgrade) -> float:
        """Return for how many seconds an upgrade has been in its phase."""
        return self._ages.of(record.hostname, "phase", upgrade.since)

    def _try(self, hostname: str, work: Callable[[Record], None]) -> None:
        """Go on with an upgrade, unless somebody else changes the machine; what fails is tried again in a while."""
        with self._altering.unless_busy(hostname) as free:
            if not free:
                return
            try:
                record = self._store.find(hostname)
                if isinstance(record, Record) and record.state is State.READY:
                    work(record)
                self._not_before.pop(hostname, None)
            except InterruptedWork:
                raise
            except Exception as error:  # the boundary of the thread: the other machines go on
                self._not_before[hostname] = time.monotonic() + _PAUSE_SECONDS
                _log.error("an upgrade does not go on", hostname=hostname, reason=str(error) or repr(error))
                with suppress(TerraError):
                    found = self._store.find(hostname)
                    if isinstance(found, Record):
                        self._turning.tell(found, f"the upgrade does not go on, and is tried again in a minute: {error}")

    def _go_on(self, record: Record, connections: Connections, switched_off: list[str]) -> None:
        """Go on with an upgrade; add the machine to those whose own is to be taken over, where it is one."""
        session, upgrade = self._services.session, record.upgrade
        if upgrade is None or upgrade.other is None:
            return
        if upgrade.restored:
            self._find_out(record, upgrade, connections, session)
        elif upgrade.phase is Phase.PREPARING:
            self._turning.abandon(record.hostname)
        elif upgrade.phase is Phase.WAITING:
            if record.hostname not in self._carrying and self._turning.is_off(record, connections):
                switched_off.append(record.hostname)
        elif upgrade.phase is Phase.TRIAL:
            self._follow(record, upgrade, connections, session)
        elif upgrade.phase is Phase.RETURNING:
            if not self._disks.connected(upgrade.other.targets, connections) and self._turning.has_left(record, upgrade.other):
                self._turning.without_other(record, left_by(upgrade, upgrade.reason))
                self._turning.tell(record, f"has its former version again: {upgrade.reason}")
        elif self._is_due(record):
            self._turning.without_other(record, None)

    def _carry(self, hostname: str) -> None:
        """Take over what is the own of a machine that was switched off, in a thread of the pool."""
        interruption.set(self._ended.is_set)
        try:
            if not self._ended.is_set():
                self._try(hostname, self._carry_out)
        finally:
            self._carrying.discard(hostname)

    def _carry_out(self, record: Record) -> None:
        """Take over what is the machine's own, which was switched off just now, and let it boot the other version."""
        if record.upgrade is None or record.upgrade.phase is not Phase.WAITING or not self._turning.is_off(record):
            return
        session, upgrade, other = self._services.session, record.upgrade, other_of(record)
        if not self._disks.are_there(other.targets):
            gone = "the volume of its next version is not what was made"
            self._turning.without_other(record, left_by(upgrade, f"{gone}: upgrade the machine again"))
            self._turning.tell(record, f"is not upgraded to {upgrade.image}: {gone}")
            return
        with self._services.workspace(record.hostname) as work:
            words = self._making.carry(record, session, work)
        record = self._turning.exchange(record, evolve(record, upgrade=evolve(upgrade, other=evolve(other, words=words))))
        self._turning.to_next(record, session)

    def _follow(self, record: Record, upgrade: Upgrade, connections: Connections, session: Session) -> None:
        """See what has become of a trial."""
        other = other_of(record)
        boot = self._store.happenings.boot(record.hostname, record.generation)
        report = boot.report if boot.report.get("boot_id", "") != upgrade.seen else {}
        seen = Seen(
            on_next=bool(self._disks.connected(record.system, connections)),
            on_former=bool(self._disks.connected(other.targets, connections)),
            booting=self._booting(record, boot),
            report=report if report.get("image") == record.digest else {},
        )
        outcome, reason = outcome_of(upgrade, seen, self._age(record, upgrade), self._services.config.upgrade.timeout)
        if outcome is Outcome.AGAIN:
            self._turning.to_wait(record, session)
        elif outcome is Outcome.BEGUN:
            self._turning.begun(record, session)
        elif outcome is Outcome.WELL:
            self._turning.keep(record, session)
        elif outcome is Outcome.UNWELL:
            self._turning.back(record, reason, session)

    def _find_out(self, record: Record, upgrade: Upgrade, connections: Connections, session: Session) -> None:
        """See which version a machine runs whose record is of a backup."""
        other = other_of(record)
        on_this, on_other = (bool(self._disks.connected(of, connections)) for of in (record.system, other.targets))
        found = found_out(
            upgrade,
            on_this=on_this,
            on_other=on_other,
            this_there=on_this or self._disks.are_there(record.system),
            other_there=on_other or self._disks.are_there(other.targets),
        )
        if found is Found.UNNEEDED:
            self._turning.without_other(record, left_by(upgrade, f"{_RESTORED} that was made before its trial"))
        elif found is not Found.OPEN:
            has = record if found in (Found.THIS, Found.THIS_ALONE) else record.swapped()
            if found in (Found.THIS, Found.OTHER):
                kept = evolve(upgrade_of(has), phase=Phase.KEPT, since=time.time(), back=None, reason=_RESTORED, restored=False)
                said = f"has {has.node.image}, and its version of {other_of(has).image} is kept: {_RESTORED}"
            else:
                kept = left_by(upgrade, f"{_RESTORED}, and what that says of another version is not so any more")
                said = f"has {has.node.image}, and no other version that is known: {_RESTORED}"
            self._turning.turn(record, evolve(has, upgrade=kept), said, session)

    def _booting(self, record: Record, boot: BootProgress) -> float | None:
        """Return for how many seconds a machine has been booting, if it does. It was off when its trial began."""
        if boot.stage is Stage.BOOTING:
            with suppress(ValueError):
                return self._ages.of(record.hostname, "boot", datetime.fromisoformat(boot.since).timestamp())
        return None
