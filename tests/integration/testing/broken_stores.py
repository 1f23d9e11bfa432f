"""Stores that break one promise each."""

from __future__ import annotations

import itertools
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from attrs import evolve

from terra_core.config.session import Session
from terra_core.config.values import Hostname
from terra_core.errors import TerraError
from terra_core.hookspecs import Backing, Room, Volume, VolumeRequest
from terra_core.testing import StoreConformance
from terra_file import FilePlugin
from tests.integration.testing.breaking import broken

_good = FilePlugin()
_numbers = itertools.count()
_busy = threading.Lock()


class _Kit(StoreConformance):
    name = "file"


def _make_a_file_while_planning(self: Any, request: VolumeRequest, session: Session) -> Volume:
    session.paths.root.mkdir(exist_ok=True)
    (session.paths.root / "planned").touch()
    return _good.plan_volume(request, session)


def _name_by_number_alone(self: Any, request: VolumeRequest, session: Session) -> Volume:
    return _good.plan_volume(VolumeRequest(hostname=Hostname("all"), number=request.number, size=request.size), session)


@contextmanager
def _half(volume: Volume, session: Session) -> Iterator[None]:
    with _good.make_volume(volume, session):
        os.truncate(volume.name, volume.size << 19)
        yield


@contextmanager
def _kept(volume: Volume, session: Session) -> Iterator[None]:
    with _good.make_volume(volume, session):
        pass
    yield


def _at_once(self: Any, volume: Volume, session: Session) -> AbstractContextManager[None]:
    Path(volume.name).parent.mkdir(parents=True)
    return _kept(volume, session)


def _plan_again(self: Any, request: VolumeRequest, session: Session) -> Volume:
    return Volume(name=str(session.paths.root / "iscsi" / request.hostname / f"{request.number}.lun"), size=request.size)


def _make_when_missing(self: Any, volume: Volume, session: Session) -> Backing:
    if not Path(volume.name).exists():
        with _good.make_volume(volume, session):
            pass
    return Backing(kind="file", address=volume.name)


@contextmanager
def _linked(origin: Volume, volume: Volume) -> Iterator[None]:
    os.link(origin.name, volume.name)
    yield


@contextmanager
def _cloned_for_good(origin: Volume, volume: Volume, session: Session) -> Iterator[None]:
    with _good.clone_volume(origin, volume, session):
        pass
    yield


@contextmanager
def _with_a_lock_file(volume: Volume, session: Session) -> Iterator[None]:
    lock = Path(session.paths.root, "lock")
    with _good.make_volume(volume, session):
        lock.touch()
        yield
    lock.unlink()


def _unless_locked(self: Any, request: VolumeRequest, session: Session) -> Volume:
    if Path(session.paths.root, "lock").exists():
        raise TerraError("another controller makes a volume")
    return _good.plan_volume(request, session)


@contextmanager
def _one_at_a_time(volume: Volume, session: Session) -> Iterator[None]:
    if not _busy.acquire(blocking=False):
        raise TerraError("busy")
    try:
        threading.Event().wait(0.05)
        with _good.make_volume(volume, session):
            yield
    finally:
        _busy.release()


def _remove_all_of_everybody(self: Any, hostname: Hostname, session: Session) -> bool:
    found = (session.paths.root / "iscsi").exists()
    shutil.rmtree(session.paths.root / "iscsi", ignore_errors=True)
    return found


@contextmanager
def _grown(volume: Volume, size: int, *, empty: bool) -> Iterator[None]:
    if empty:
        os.truncate(volume.name, 0)
    os.truncate(volume.name, size << 20)
    yield


@contextmanager
def _opened(volume: Volume) -> Iterator[Path]:
    yield Path(volume.name)


PROMISES: dict[str, dict[str, object]] = {
    "test_it_fills_the_role_and_is_made_for_this_contract": {"contract": 1},
    "test_a_key_that_its_table_does_not_know_is_refused_by_name": {"settings": None},
    "test_planning_changes_nothing_and_says_the_same_again": {"plan_volume": _make_a_file_while_planning},
    "test_volumes_of_a_machine_and_of_others_have_names_of_their_own": {"plan_volume": _name_by_number_alone},
    "test_a_volume_is_a_disk_of_its_size_that_keeps_what_is_written": {
        "make_volume": lambda self, volume, session: _half(volume, session),
        "open_volume": lambda self, volume, session: _opened(volume),
    },
    "test_a_transport_learns_how_to_reach_it_the_same_each_time": {
        "reach_volume": lambda self, volume, session: Backing(kind="file", address=f"{volume.name}?{next(_numbers)}")
    },
    "test_many_are_reached_as_each_of_them_is": {
        "reach_volumes": lambda self, volumes, session: [_good.reach_volume(volume, session) for volume in volumes]
    },
    "test_a_volume_that_is_there_is_neither_planned_nor_made_again": {"plan_volume": _plan_again},
    "test_a_volume_goes_when_what_follows_fails": {"make_volume": lambda self, volume, session: _kept(volume, session)},
    "test_nothing_is_made_before_it_is_entered": {"make_volume": _at_once},
    "test_removing_is_idempotent_and_leaves_others_alone": {
        "remove_volume": lambda self, volume, session: _good.remove_volume(volume, session) or True
    },
    "test_a_volume_that_is_missing_is_never_made_anew": {"reach_volume": _make_when_missing},
    "test_a_volume_of_another_size_is_refused": {
        "reach_volume": lambda self, volume, session: Backing(kind="file", address=volume.name)
    },
    "test_a_clone_has_the_content_and_goes_its_own_way": {
        "clone_volume": lambda self, origin, volume, session: _linked(origin, volume)
    },
    "test_a_stamp_tells_that_a_volume_was_written_to_and_nothing_else": {
        "stamp_volume": lambda self, volume, session: _good.stamp_volume(volume, session).rsplit(":", 2)[0]
    },
    "test_a_volume_grows_and_keeps_what_it_holds": {
        "grow_volume": lambda self, volume, size, session: _grown(volume, size, empty=True)
    },
    "test_a_volume_is_as_large_as_it_was_when_what_follows_fails": {
        "grow_volume": lambda self, volume, size, session: _grown(volume, size, empty=False)
    },
    "test_a_clone_goes_when_what_follows_fails": {
        "clone_volume": lambda self, origin, volume, session: _cloned_for_good(origin, volume, session)
    },
    "test_what_a_killed_controller_had_begun_is_removed_by_its_record": {
        "make_volume": lambda self, volume, session: _with_a_lock_file(volume, session),
        "plan_volume": _unless_locked,
    },
    "test_many_are_made_at_once": {"make_volume": lambda self, volume, session: _one_at_a_time(volume, session)},
    "test_all_of_a_machine_goes_where_the_store_can_tell": {"remove_volumes": _remove_all_of_everybody},
    "test_a_volume_has_all_of_its_room_where_that_is_asked_for_or_is_refused": {
        "clone_volume": lambda self, origin, volume, session: _good.clone_volume(origin, evolve(volume, full=False), session)
    },
    "test_no_more_is_free_than_there_is": {"measure_store": lambda self, session: Room(size=0, free=1)},
    "test_the_directory_of_the_volumes_is_absolute": {"volume_directory": lambda self, session: Path("iscsi")},
    "test_the_doctor_finds_what_is_missing_and_nothing_else": {"examine_volumes": lambda self, volumes, session: ()},
}


globals().update(broken(_Kit, FilePlugin, PROMISES))
