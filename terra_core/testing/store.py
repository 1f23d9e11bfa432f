"""What the contract promises of the role ``store``."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from stat import S_ISREG
from typing import ClassVar

import pytest
from attrs import evolve

from terra_core.config.session import Session
from terra_core.config.values import Hostname
from terra_core.errors import ConflictError, TerraError
from terra_core.hookspecs import Store, Volume, VolumeRequest
from terra_core.testing.conformance import Conformance, everything, killed_within

HOST = Hostname("conformance-01")
OTHER = Hostname("conformance-02")
_WORD = b"terra"


class StoreConformance(Conformance[Store]):
    """The promises of a store.

    :cvar size: the size of the volumes that are made, in MB.
    """

    _role = Store
    size: ClassVar[int] = 16

    def use(self, role: Store, session: Session) -> None:
        """Plan a volume."""
        self.plan(role, session)

    def plan(self, role: Store, session: Session, number: int = 0, hostname: Hostname = HOST) -> Volume:
        """Return a planned volume."""
        return role.plan_volume(VolumeRequest(hostname=hostname, number=number, size=self.size), session)

    def make(self, role: Store, session: Session, number: int = 0, hostname: Hostname = HOST) -> Volume:
        """Return a volume that was made, and is kept."""
        volume = self.plan(role, session, number, hostname)
        with role.make_volume(volume, session):
            pass
        return volume

    def write(self, role: Store, session: Session, volume: Volume, content: bytes, at: int = 0) -> None:
        """Write into a volume as core does: as into a local disk."""
        with role.open_volume(volume, session) as path, path.open("r+b") as file:
            file.seek(at)
            file.write(content)

    def read(self, role: Store, session: Session, volume: Volume, length: int = len(_WORD), at: int = 0) -> bytes:
        """Read what is in a volume."""
        with role.open_volume(volume, session) as path, path.open("rb") as file:
            file.seek(at)
            return file.read(length)

    def test_planning_changes_nothing_and_says_the_same_again(self, role: Store, session: Session) -> None:
        first = self.plan(role, session)
        assert self.plan(role, session) == first
        assert first.size == self.size
        assert everything(session.paths.root) == {}

    def test_volumes_of_a_machine_and_of_others_have_names_of_their_own(self, role: Store, session: Session) -> None:
        names = {self.plan(role, session, number, host).name for number in range(3) for host in (HOST, OTHER)}
        assert len(names) == 6

    def test_a_volume_is_a_disk_of_its_size_that_keeps_what_is_written(self, role: Store, session: Session) -> None:
        volume = self.make(role, session)
        with role.open_volume(volume, session) as path, path.open("rb") as file:
            assert file.seek(0, 2) == self.size * 1024 * 1024
        self.write(role, session, volume, _WORD, 4096)
        assert self.read(role, session, volume, at=4096) == _WORD
        assert self.read(role, session, volume, 4096) == bytes(4096), "a new volume is empty"

    def test_a_transport_learns_how_to_reach_it_the_same_each_time(self, role: Store, session: Session) -> None:
        volume = self.make(role, session)
        backing = role.reach_volume(volume, session)
        assert backing.kind
        assert backing.address
        assert role.reach_volume(volume, session) == backing

    def test_many_are_reached_as_each_of_them_is(self, role: Store, session: Session) -> None:
        made = [self.make(role, session, number) for number in range(3)]
        missing = self.plan(role, session, hostname=OTHER)
        larger = Volume(name=made[1].name, size=self.size + 1)
        answers = role.reach_volumes([made[0], missing, larger, made[2]], session)
        assert [answers[0], answers[3]] == [role.reach_volume(made[at], session) for at in (0, 2)]
        for volume, reason in ((missing, answers[1]), (larger, answers[2])):
            assert isinstance(reason, str), "what is wrong with one keeps no other down"
            assert volume.name in reason
        assert role.reach_volumes([], session) == []

    def test_a_volume_that_is_there_is_neither_planned_nor_made_again(self, role: Store, session: Session) -> None:
        volume = self.make(role, session)
        self.write(role, session, volume, _WORD)
        with pytest.raises(ConflictError, match=volume.name):
            self.plan(role, session)
        with pytest.raises(TerraError, match=volume.name), role.make_volume(volume, session):
            raise AssertionError("it was made over what was there")
        assert self.read(role, session, volume) == _WORD

    @pytest.mark.parametrize("failure", [RuntimeError(), TerraError("enough"), KeyboardInterrupt()])
    def test_a_volume_goes_when_what_follows_fails(self, role: Store, session: Session, failure: BaseException) -> None:
        role.remove_volume(self.make(role, session, 1, OTHER), session)
        before, volume = everything(session.paths.root), self.plan(role, session)
        with pytest.raises(type(failure)), role.make_volume(volume, session):
            raise failure
        assert everything(session.paths.root) == before
        with pytest.raises(TerraError):
            role.reach_volume(volume, session)
        assert self.plan(role, session) == volume, "its name is free again"

    def test_nothing_is_made_before_it_is_entered(self, role: Store, session: Session) -> None:
        role.make_volume(self.plan(role, session), session)
        assert everything(session.paths.root) == {}

    def test_removing_is_idempotent_and_leaves_others_alone(self, role: Store, session: Session) -> None:
        volume, own, other = (self.make(role, session, *which) for which in ((0, HOST), (1, HOST), (0, OTHER)))
        assert role.remove_volume(volume, session) is True
        assert role.remove_volume(volume, session) is False
        assert role.reach_volume(own, session)
        assert role.reach_volume(other, session)

    def test_a_volume_that_is_missing_is_never_made_anew(self, role: Store, session: Session) -> None:
        volume = self.plan(role, session)
        before = everything(session.paths.root)
        with pytest.raises(TerraError, match=volume.name):
            role.reach_volume(volume, session)
        with pytest.raises(TerraError, match=volume.name), role.open_volume(volume, session):
            raise AssertionError("it was opened")
        assert everything(session.paths.root) == before

    def test_a_volume_of_another_size_is_refused(self, role: Store, session: Session) -> None:
        volume = self.make(role, session)
        other = Volume(name=volume.name, size=volume.size + 1)
        with pytest.raises(TerraError, match=volume.name):
            role.reach_volume(other, session)
        with pytest.raises(TerraError, match=volume.name), role.open_volume(other, session):
            raise AssertionError("it was opened")

    def test_a_clone_has_the_content_and_goes_its_own_way(self, role: Store, session: Session) -> None:
        origin, clone = self.make(role, session), self.plan(role, session, 1)
        self.write(role, session, origin, _WORD, 4096)
        with role.clone_volume(origin, clone, session):
            pass
        assert self.read(role, session, clone, at=4096) == _WORD
        self.write(role, session, clone, b"clone", 4096)
        self.write(role, session, origin, b"first")
        assert self.read(role, session, origin, at=4096) == _WORD
        assert self.read(role, session, clone) == bytes(5)
        assert role.remove_volume(origin, session) is True
        assert self.read(role, session, clone, at=4096) == b"clone", "a clone outlives its origin"

    def test_a_stamp_tells_that_a_volume_was_written_to_and_nothing_else(self, role: Store, session: Session) -> None:
        if not role.brings("stamp_volume"):
            return
        origin = self.make(role, session)
        self.write(role, session, origin, _WORD)
        stamp = role.stamp_volume(origin, session)
        assert stamp
        with role.clone_volume(origin, self.plan(role, session, 1), session):
            pass
        assert self.read(role, session, origin) == _WORD
        assert role.stamp_volume(origin, session) == stamp, "neither a clone nor a reader changes it"
        self.write(role, session, origin, _WORD)
        assert role.stamp_volume(origin, session) != stamp, "the same content, but somebody wrote it"
        with pytest.raises(TerraError, match=origin.name):
            role.stamp_volume(evolve(origin, size=self.size + 1), session)
        role.remove_volume(origin, session)
        with pytest.raises(TerraError, match=origin.name):
            role.stamp_volume(origin, session)

    def test_a_volume_grows_and_keeps_what_it_holds(self, role: Store, session: Session) -> None:
        if not role.brings("grow_volume"):
            return
        volume, larger = self.make(role, session), self.size * 2
        self.write(role, session, volume, _WORD)
        killed_within(lambda: role.grow_volume(volume, larger, session))
        with role.grow_volume(volume, larger, session):
            pass
        grown = evolve(volume, size=larger)
        assert role.reach_volume(grown, session)
        assert self.read(role, session, grown) == _WORD
        assert self.read(role, session, grown, at=self.size * 1024 * 1024) == bytes(len(_WORD)), "what is new is empty"
        with role.open_volume(grown, session) as path, path.open("rb") as file:
            assert file.seek(0, 2) == larger * 1024 * 1024

    def test_a_volume_is_as_large_as_it_was_when_what_follows_fails(self, role: Store, session: Session) -> None:
        if not role.brings("grow_volume"):
            return
        volume = self.make(role, session)
        self.write(role, session, volume, _WORD)
        with pytest.raises(RuntimeError), role.grow_volume(volume, self.size * 2, session):
            raise RuntimeError
        assert role.reach_volume(volume, session)
        assert self.read(role, session, volume) == _WORD
        role.remove_volume(volume, session)
        with pytest.raises(TerraError, match=volume.name), role.grow_volume(volume, self.size * 2, session):
            raise AssertionError("it was made anew")

    def test_a_clone_goes_when_what_follows_fails(self, role: Store, session: Session) -> None:
        origin, clone = self.make(role, session), self.plan(role, session, 1)
        self.write(role, session, origin, _WORD)
        before = everything(session.paths.root)
        with pytest.raises(RuntimeError), role.clone_volume(origin, clone, session):
            raise RuntimeError
        with pytest.raises(TerraError):
            role.reach_volume(clone, session)
        assert everything(session.paths.root) == before
        assert self.read(role, session, origin) == _WORD

    def test_what_a_killed_controller_had_begun_is_removed_by_its_record(self, role: Store, session: Session) -> None:
        volume = self.plan(role, session)
        killed_within(lambda: role.make_volume(volume, session))
        role.remove_volume(volume, session)
        assert self.plan(role, session) == volume
        assert role.remove_volume(volume, session) is False

    def test_many_are_made_at_once(self, role: Store, session: Session) -> None:
        with ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda at: self.make(role, session, at, (HOST, OTHER)[at % 2]), range(16)))
        assert len({volume.name for volume in made}) == 16
        for volume in made:
            assert role.reach_volume(volume, session)

    def test_all_of_a_machine_goes_where_the_store_can_tell(self, role: Store, session: Session) -> None:
        own, other = self.make(role, session), self.make(role, session, hostname=OTHER)
        if role.remove_volumes(HOST, session):
            with pytest.raises(TerraError):
                role.reach_volume(own, session)
            assert role.remove_volumes(HOST, session) is False
        assert role.reach_volume(other, session)

    def test_a_volume_has_all_of_its_room_where_that_is_asked_for_or_is_refused(self, role: Store, session: Session) -> None:
        origin = self.make(role, session)
        self.write(role, session, origin, _WORD, 4096)
        thin = VolumeRequest(hostname=OTHER, number=0, size=self.size, full=False)
        assert role.plan_volume(thin, session).full is False
        try:
            made, cloned = (role.plan_volume(evolve(thin, number=at, full=True), session) for at in (0, 1))
        except TerraError:
            return  # it makes none
        assert made.full
        with role.make_volume(made, session), role.clone_volume(origin, cloned, session):
            pass
        assert self.read(role, session, made, 4096) == bytes(4096)
        assert self.read(role, session, cloned, at=4096) == _WORD
        for volume in (made, cloned):
            with role.open_volume(volume, session) as path:
                status = path.stat()
            assert not S_ISREG(status.st_mode) or status.st_blocks * 512 >= self.size * 1024 * 1024

    def test_no_more_is_free_than_there_is(self, role: Store, session: Session) -> None:
        room = role.measure_store(session)
        assert room is None or 0 <= room.free <= room.size
        assert room is None or 0 <= room.reserve <= room.size
        assert everything(session.paths.root) == {}

    def test_the_directory_of_the_volumes_is_absolute(self, role: Store, session: Session) -> None:
        place = role.volume_directory(session)
        assert place is None or place.is_absolute()
        assert place is None or Path(session.paths.root) in place.parents, "--root moves all that a controller owns"

    def test_the_doctor_finds_what_is_missing_and_nothing_else(self, role: Store, session: Session) -> None:
        if not role.brings("examine_volumes"):
            return
        volume, other = self.make(role, session), self.make(role, session, 0, OTHER)
        volumes: dict[str, list[Volume]] = {HOST: [volume], OTHER: [other]}
        before = everything(session.paths.root)
        assert list(role.examine_volumes(volumes, session)) == []
        assert everything(session.paths.root) == before, "it only looks"
        strange = role.examine_volumes({str(OTHER): [other]}, session)
        assert [one.hostname for one in strange] == [HOST], "a volume that no machine has"
        role.remove_volume(volume, session)
        assert [one.hostname for one in role.examine_volumes(volumes, session)] == [HOST]
