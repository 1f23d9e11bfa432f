"""What the contract promises of the role ``storage``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import ClassVar

import pytest
from attrs import evolve

from terra_core.config.node import OS_LABEL
from terra_core.config.session import Session
from terra_core.config.values import Address, Hostname, Label
from terra_core.errors import TerraError
from terra_core.hookspecs import Backing, Export, Storage, Target, TargetRequest, Volume
from terra_core.system.undo import Undo
from terra_core.testing.conformance import Conformance, assert_is_script, everything, killed_after

HOST = Hostname("conformance-01")
OTHER = Hostname("conformance-02")
_MB = 1024 * 1024


class StorageConformance(Conformance[Storage]):
    """The promises of a transport, whose volumes are files here.

    :cvar portal: the address that the service answers on; ``surroundings`` has to have it.
    """

    _role = Storage
    portal: ClassVar[str] = "127.0.0.1"

    @pytest.fixture
    def started(self, role: Storage, session: Session) -> Iterator[Session]:
        """Return the session, with the service started, and stopped in the end."""
        with Undo() as undo:
            undo.callback(role.stop_storage, session)
            role.start_storage(Address(self.portal), session)
            yield session

    def use(self, role: Storage, session: Session) -> None:
        """Plan a target."""
        self.plan(role, session)

    def plan(
        self,
        role: Storage,
        session: Session,
        hostname: Hostname = HOST,
        number: int = 1,
        *,
        label: str = OS_LABEL,
        disks: int = 1,
        generation: int = 1,
    ) -> Target:
        """Return the planned target of a group of files."""
        place = session.paths.root.parent / "volumes" / f"{hostname}-{label}-{generation}"
        request = TargetRequest(
            hostname=hostname,
            number=number,
            generation=generation,
            label=Label(label),
            volumes=tuple(Volume(name=str(place / f"{at}.lun"), size=16) for at in range(disks)),
            boot=label == OS_LABEL,
            portal=Address(self.portal),
        )
        return role.plan_target(request, session)

    def export(self, target: Target) -> Export:
        """Return a target with the files behind it, made if need be."""
        for volume in target.volumes:
            path = Path(volume.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
            os.truncate(path, volume.size * _MB)
        return Export(target=target, backings=tuple(Backing(kind="file", address=one.name) for one in target.volumes))

    def give(self, role: Storage, session: Session, hostname: Hostname = HOST, number: int = 1, *, disks: int = 1) -> Export:
        """Return a target that was given to its machine, and is kept."""
        export = self.export(self.plan(role, session, hostname, number, disks=disks))
        with role.provision_target(export, session):
            pass
        return export

    def test_planning_changes_nothing_and_says_the_same_again(self, role: Storage, session: Session) -> None:
        target = self.plan(role, session, disks=2)
        assert everything(session.paths.root) == {}
        if not target.data:  # a secret differs each time
            assert self.plan(role, session, disks=2) == target
        assert (target.label, target.id, target.portal) == (OS_LABEL, 1, self.portal)
        assert len(target.volumes) == 2

    def test_no_name_is_used_twice(self, role: Storage, session: Session) -> None:
        targets = [
            self.plan(role, session, host, number, label=label, generation=generation)
            for number, (host, label, generation) in enumerate(product((HOST, OTHER), (OS_LABEL, "data"), (1, 2)), 1)
        ]
        assert len({target.name for target in targets}) == len(targets)

    def test_a_machine_is_told_how_to_reach_its_targets(self, role: Storage, session: Session) -> None:
        targets = [self.plan(role, session), self.plan(role, session, number=2, label="data")]
        assert all(target.kernel_arguments for target in targets)
        step = role.connect_root(targets, session)
        assert_is_script(step.script)
        assert everything(session.paths.root) == {}

    def test_the_service_is_started_once_and_stopped_once(self, role: Storage, session: Session) -> None:
        with Undo() as undo:
            undo.callback(role.stop_storage, session)
            assert role.start_storage(Address(self.portal), session) is True
            assert role.start_storage(Address(self.portal), session) is False
            assert role.stop_storage(session) is True
            assert role.stop_storage(session) is False

    def test_giving_a_target_is_done_when_it_is_entered_and_kept(self, role: Storage, started: Session) -> None:
        export = self.export(self.plan(role, started))
        offer = role.provision_target(export, started)
        assert role.release_target(export.target, started) is False, "nothing is given before it is entered"
        with offer:
            assert role.restore_target(export, started) is False, "and then it is there"
        assert role.restore_target(export, started) is False
        assert role.release_target(export.target, started) is True

    @pytest.mark.parametrize("failure", [RuntimeError(), TerraError("enough"), KeyboardInterrupt()])
    def test_a_target_is_taken_away_when_what_follows_fails(
        self, role: Storage, started: Session, failure: BaseException
    ) -> None:
        export = self.export(self.plan(role, started))
        with pytest.raises(type(failure)), role.provision_target(export, started):
            raise failure
        assert role.release_target(export.target, started) is False
        assert all(Path(volume.name).exists() for volume in export.target.volumes), "the volumes are the store's"

    def test_restoring_and_releasing_are_idempotent(self, role: Storage, started: Session) -> None:
        export = self.export(self.plan(role, started, disks=2))
        assert role.restore_target(export, started) is True
        assert role.restore_target(export, started) is False
        assert role.release_target(export.target, started) is True
        assert role.release_target(export.target, started) is False
        assert all(Path(volume.name).exists() for volume in export.target.volumes), "the volumes are the store's"

    def test_a_backing_that_it_does_not_know_is_refused_by_its_kind(self, role: Storage, started: Session) -> None:
        export = self.export(self.plan(role, started))
        strange = evolve(export, backings=(Backing(kind="no-such-kind", address="x"),))
        with pytest.raises(TerraError, match="no-such-kind"), role.provision_target(strange, started):
            raise AssertionError("it was exported")
        with pytest.raises(TerraError, match="no-such-kind"):
            role.restore_target(strange, started)

    def test_what_is_wrong_with_one_target_keeps_no_other_down(self, role: Storage, started: Session) -> None:
        good = [self.export(self.plan(role, started, Hostname(f"conformance-{at:02}"), at)) for at in (11, 12, 13)]
        wrong = evolve(good[1], backings=(Backing(kind="no-such-kind", address="x"),))
        reasons = role.restore_targets([good[0], wrong, good[2]], started)
        assert [bool(reason) for reason in reasons] == [False, True, False]
        assert role.restore_target(good[0], started) is False
        assert role.restore_target(good[2], started) is False

    def test_releasing_one_leaves_its_neighbours_alone(self, role: Storage, started: Session) -> None:
        own, other = self.give(role, started), self.give(role, started, OTHER, 2)
        assert role.release_target(own.target, started) is True
        assert role.restore_target(other, started) is False

    def test_nobody_is_connected_where_nobody_came(self, role: Storage, session: Session) -> None:
        assert role.find_connected(session) == {}, "before the service is started"
        with Undo() as undo:
            undo.callback(role.stop_storage, session)
            role.start_storage(Address(self.portal), session)
            own = self.give(role, session)
            assert not role.find_connected(session).get(own.target.id)

    def test_targets_come_back_with_the_service(self, role: Storage, started: Session) -> None:
        export = self.give(role, started)
        role.stop_storage(started)
        assert role.start_storage(Address(self.portal), started) is True
        role.restore_target(export, started)
        assert role.restore_target(export, started) is False

    def test_the_service_outlives_a_controller_that_is_killed(self, role: Storage, session: Session) -> None:
        export = self.export(self.plan(role, session))

        def controller() -> None:
            role.start_storage(Address(self.portal), session)
            role.restore_target(export, session)

        with Undo() as undo:
            undo.callback(role.stop_storage, session)
            killed_after(controller)
            assert role.start_storage(Address(self.portal), session) is False, "it is found again"
            assert role.restore_target(export, session) is False, "and so is the target"
            assert role.stop_storage(session) is True, "and the next controller can stop it"

    def test_all_of_a_machine_goes_where_the_transport_can_tell(self, role: Storage, started: Session) -> None:
        own, other = self.give(role, started), self.give(role, started, OTHER, 2)
        if role.release_host(HOST, started):
            assert role.release_target(own.target, started) is False
            assert role.release_host(HOST, started) is False
        assert role.restore_target(other, started) is False

    def test_the_doctor_finds_what_is_missing_and_nothing_else(self, role: Storage, started: Session) -> None:
        if not role.brings("examine_targets"):
            return
        own, other = self.give(role, started), self.give(role, started, OTHER, 2)
        targets: dict[str, list[Target]] = {HOST: [own.target], OTHER: [other.target]}
        assert list(role.examine_targets(targets, started)) == []
        strange = role.examine_targets({str(OTHER): [other.target]}, started)
        assert [one.hostname for one in strange] == [HOST], "a target that no machine has"
        role.release_target(own.target, started)
        assert {one.hostname for one in role.examine_targets(targets, started)} == {HOST}
        assert role.release_target(own.target, started) is False, "it only looks"
