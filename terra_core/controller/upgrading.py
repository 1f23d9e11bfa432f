"""The next version of a machine's system, from an image, and the way back; see docs/decisions/0092."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog
from attrs import evolve

from terra_core.client.answers import UpgradePlanShown
from terra_core.config.values import ImageReference
from terra_core.controller.altering import Altering
from terra_core.controller.disks import Disks
from terra_core.controller.following import Following
from terra_core.controller.golden import Golden
from terra_core.controller.goldens import Goldens
from terra_core.controller.laying import Laying
from terra_core.controller.making import Making, next_of, other_of, upgrade_of, with_other
from terra_core.controller.pulled import PulledImages
from terra_core.controller.records import Phase, Record, State, Upgrade, Version
from terra_core.controller.reports import Reports
from terra_core.controller.services import Services
from terra_core.controller.turning import Turning, left_by
from terra_core.controller.upgrade_plan import planned
from terra_core.errors import ConflictError, TerraError
from terra_core.hookspecs import Boot
from terra_core.system.progress import Event, Report
from terra_core.system.undo import Undo

_log = structlog.get_logger(__name__)
_RESTORED = "a backup was restored, and what {} runs since then is not known yet"


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
        self._altering, self._targets = altering, targets
        self._making = Making(services, disks, goldens)
        self._turning = Turning(services, disks, images, reports, self._making, targets)
        self.following = Following(services, disks, self._making, self._turning, altering)
        """What goes on with upgrades by itself."""

    @property
    def making(self) -> Making:
        """What makes other versions, and has the boot files of machines that have one."""
        return self._making

    def plan(self, hostname: str, image: ImageReference) -> UpgradePlanShown:
        """Return what an upgrade would do; change nothing.

        :raises ConflictError: when the machine cannot be upgraded now, or the registry does not say what the image is.
        """
        record = self.require_able(hostname, image)
        try:
            digest = self._images.digest_of(image, self._services.session)
        except TerraError as error:  # a registry that is away is no fault of this controller
            raise ConflictError(f"what {image} is cannot be told: {error.message}", hint=error.hint) from error
        going = _is_to(record, digest)
        if record.under_way is not None and not going:
            raise _under_way(record, record.under_way)
        off, keep = self._turning.is_off(record), self._services.config.upgrade.keep_former
        return planned(record, str(image), digest, off=off, keep=keep, going=going)

    def upgrade(self, record: Record, image: ImageReference, report: Report) -> Mapping[str, Any]:
        """Make the next version of a machine; of one that is off, take over what is its own, and let it boot that.

        A machine that is on its way to the same image is left as it is.

        :returns: the machine as the API shows it.
        :raises ConflictError: when it cannot be upgraded now.
        """
        session = self._services.session.reporting_to(report)
        hostname = record.hostname
        with self._altering.busy(hostname), Undo() as undo:
            record = self.require_able(hostname, image)
            work = undo.enter_context(self._services.workspace(hostname))
            undo.enter_context(self._images.keeping(str(image)))
            report(Event("pull", f"pull {image}"))
            source = undo.enter_context(self._images.pull(image, record.node.trust, session))
            digest = str(source.digest)
            if _is_to(record, digest):
                return record.as_row()
            if record.under_way is not None:
                raise _under_way(record, record.under_way)
            if digest == record.digest:
                return record.as_row()
            record = self._turning.without_other(record, None)
            targets, scratch = self._disks.plan_version(record, self._store.number)
            other = Version(image=str(image), digest=digest, layout="", targets=targets)
            begun = Upgrade(
                phase=Phase.PREPARING, image=str(image), digest=digest, since=time.time(), other=other, scratch=scratch
            )
            record = self._turning.exchange(record, evolve(record, upgrade=begun))
            undo.when_failing(self._turning.abandon, hostname)
            self._disks.require_room()
            next_one = next_of(record)
            fit = self._laying.fit(next_one, with_other(record), source, session)
            self._laying.check_disks(next_one, source, session)
            golden = undo.enter_context(self._goldens.ready(next_one, source, fit, session))
            if golden is None:
                raise TerraError(f"{hostname} cannot be upgraded: its filesystem plugin gives no copy an identity of its own")
            self._making.keep_files(record, session)
            off = self._turning.is_off(record)
            words = self._making.fill(record, golden, fit, session, work, carry=off)
            record = self._made(record, golden, words, fit.places)
            if off:
                self._turning.to_next(record, session)
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
                self._turning.without_other(record, left_by(upgrade, "it was ended before the machine had it"))
            elif upgrade.phase in (Phase.TRIAL, Phase.KEPT):
                self._turning.back(record, "it was asked for", session)
        return self._store.get(record.hostname).as_row()

    def require_able(self, hostname: str, image: ImageReference) -> Record:
        """Return a machine that can be upgraded to an image now, or is on its way to an image of that name.

        :raises ConflictError: when it cannot.
        """
        record = self._store.get(hostname)
        self._require_able(record, image)
        return record

    def require_way_back(self, hostname: str) -> Record:
        """Return a machine that can be brought back.

        :raises ConflictError: when there is no version to go back to.
        """
        record = self._store.get(hostname)
        self._require_way_back(record)
        return record

    def recover(self) -> None:
        """Remove what a controller that was killed had begun to make, and take away what a machine shall not reach.

        Of a machine whose record is of a backup, nothing is removed before it is known which version it has.
        """
        for record in self._store.every():
            if not isinstance(record, Record) or record.upgrade is None:
                continue
            with suppress(TerraError), self._altering.busy(record.hostname):
                if record.upgrade.restored:
                    self._end_trial(record, record.upgrade)
                    continue
                self._disks.drop(record.upgrade.scratch)
                if record.upgrade.phase is Phase.PREPARING:
                    self._turning.abandon(record.hostname)
                    continue
                with self._targets:
                    exported = {kept.target.id for kept in record.exported}
                    for kept in (one for one in record.every_target if one.target.id not in exported):
                        self._disks.withdraw(kept)

    def _end_trial(self, record: Record, upgrade: Upgrade) -> None:
        """Let a machine that was on trial when a backup was taken start its former version, unless it runs the next one."""
        if upgrade.phase is Phase.TRIAL:
            turned = record.swapped()
            back = evolve(upgrade_of(turned), phase=Phase.RETURNING, since=time.time())
            self._turning.exchange(record, evolve(turned, upgrade=back))

    def _require_able(self, record: Record, image: ImageReference) -> None:
        hostname = record.hostname
        if record.state is not State.READY:
            raise ConflictError(f"{hostname} is {record.state.value}", hint="wait for the end of it")
        if record.upgrade is not None and record.upgrade.restored:
            raise ConflictError(_RESTORED.format(hostname), hint=f"switch it on, and wait; or terra delete {hostname}")
        if record.under_way is not None and not _may_be_to(record.under_way, image):
            raise _under_way(record, record.under_way)
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
        if upgrade.restored:
            raise ConflictError(_RESTORED.format(record.hostname), hint="switch it on, and try again")
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
        return self._turning.exchange(record, evolve(record, upgrade=changed))


def _may_be_to(upgrade: Upgrade, image: ImageReference) -> bool:
    """Return whether an upgrade that is under way is to an image of this name, by another client's order or an earlier one."""
    return upgrade.image == str(image) and upgrade.phase is not Phase.RETURNING


def _is_to(record: Record, digest: str) -> bool:
    """Return whether a machine is on its way to an image."""
    upgrade = record.under_way
    return upgrade is not None and upgrade.digest == digest and upgrade.phase in (Phase.WAITING, Phase.TRIAL)


def _under_way(record: Record, upgrade: Upgrade) -> ConflictError:
    return ConflictError(
        f"{record.hostname} is being upgraded to {upgrade.image}: {upgrade.phase.value}",
        hint=f"wait for the end of it, or end it: terra rollback {record.hostname}",
    )
