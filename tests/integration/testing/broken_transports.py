"""Transports that break one promise each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from attrs import evolve

from lab.network import ISCSI
from lab.surroundings import InNetwork
from terra_core.config.session import Session
from terra_core.config.values import Hostname
from terra_core.errors import TerraError
from terra_core.hookspecs import BootStep, Connected, Export, Target, TargetRequest
from terra_core.testing import StorageConformance
from terra_iscsi import IscsiPlugin
from terra_iscsi.service import find
from tests.integration.testing.breaking import broken

_good = IscsiPlugin()


class _Kit(InNetwork, StorageConformance):
    name = "iscsi"
    portal = ISCSI


def _make_a_file_while_planning(self: Any, request: TargetRequest, session: Session) -> Target:
    session.paths.root.mkdir(exist_ok=True)
    (session.paths.root / "planned").touch()
    return _good.plan_target(request, session)


def _same_name_for_each_generation(self: Any, request: TargetRequest, session: Session) -> Target:
    return _good.plan_target(evolve(request, generation=1), session)


def _at_once(self: Any, export: Export, session: Session) -> AbstractContextManager[None]:
    _good.restore_target(export, session)
    return nullcontext()


@contextmanager
def _kept(export: Export, session: Session) -> Iterator[None]:
    _good.restore_target(export, session)
    yield


def _restore_anew(self: Any, export: Export, session: Session) -> bool:
    _good.release_target(export.target, session)
    return _good.restore_target(export, session)


def _release_with_its_volumes(self: Any, target: Target, session: Session) -> bool:
    for volume in target.volumes:
        Path(volume.name).unlink(missing_ok=True)
    return _good.release_target(target, session)


def _take_any_kind(self: Any, export: Export, session: Session) -> bool:
    if any(backing.kind != "file" for backing in export.backings):
        return True
    return _good.restore_target(export, session)


def _all_or_none(self: Any, exports: Sequence[Export], session: Session) -> list[str]:
    reasons = _good.restore_targets(exports, session)
    if any(reasons):
        for export in exports:
            _good.release_target(export.target, session)
        return ["one of them is wrong"] * len(exports)
    return list(reasons)


def _release_all(self: Any, target: Target, session: Session) -> bool:
    done = _good.release_target(target, session)
    for name in ("conformance-01", "conformance-02"):
        _good.release_host(Hostname(name), session)
    return done


def _not_after_a_stop(self: Any, export: Export, session: Session) -> bool:
    mark = session.paths.root / "stopped"
    if mark.exists():
        return True
    return _good.restore_target(export, session)


def _stop_with_a_mark(self: Any, session: Session) -> bool:
    with suppress(FileNotFoundError):
        (session.paths.root / "stopped").touch()
    return _good.stop_storage(session)


def _only_what_this_process_started(self: Any, session: Session) -> bool:
    return _good.stop_storage(session) and getattr(self, "started", False)


def _release_every_host(self: Any, hostname: Hostname, session: Session) -> bool:
    found = [_good.release_host(Hostname(name), session) for name in ("conformance-01", "conformance-02")]
    return True in found


def _everybody_who_may(self: Any, session: Session) -> dict[int, tuple[Connected, ...]]:
    control = find(session)
    return {one.id: (Connected(name=one.rules[0]),) for one in control.targets()} if control else {}


def _unknown(self: Any, export: Export, session: Session) -> bool:
    try:
        return _good.restore_target(export, session)
    except TerraError as error:
        raise TerraError("it cannot be exported") from error


PROMISES: dict[str, dict[str, object]] = {
    "test_it_fills_the_role_and_is_made_for_this_contract": {"contract": None},
    "test_a_key_that_its_table_does_not_know_is_refused_by_name": {"settings": None},
    "test_planning_changes_nothing_and_says_the_same_again": {"plan_target": _make_a_file_while_planning},
    "test_no_name_is_used_twice": {"plan_target": _same_name_for_each_generation},
    "test_a_machine_is_told_how_to_reach_its_targets": {
        "connect_root": lambda self, targets, session: BootStep(script="if true; then\n")
    },
    "test_the_service_is_started_once_and_stopped_once": {
        "start_storage": lambda self, portal, session: _good.start_storage(portal, session) or True
    },
    "test_giving_a_target_is_done_when_it_is_entered_and_kept": {"provision_target": _at_once},
    "test_a_target_is_taken_away_when_what_follows_fails": {
        "provision_target": lambda self, export, session: _kept(export, session)
    },
    "test_restoring_and_releasing_are_idempotent": {"release_target": _release_with_its_volumes},
    "test_a_backing_that_it_does_not_know_is_refused_by_its_kind": {"restore_target": _unknown},
    "test_what_is_wrong_with_one_target_keeps_no_other_down": {"restore_targets": _all_or_none},
    "test_releasing_one_leaves_its_neighbours_alone": {"release_target": _release_all},
    "test_nobody_is_connected_where_nobody_came": {"find_connected": _everybody_who_may},
    "test_targets_come_back_with_the_service": {"restore_target": _not_after_a_stop, "stop_storage": _stop_with_a_mark},
    "test_the_service_outlives_a_controller_that_is_killed": {"stop_storage": _only_what_this_process_started},
    "test_all_of_a_machine_goes_where_the_transport_can_tell": {"release_host": _release_every_host},
    "test_the_doctor_finds_what_is_missing_and_nothing_else": {"examine_targets": lambda self, targets, session: ()},
}

globals().update(broken(_Kit, IscsiPlugin, PROMISES))
