"""Filesystem plugins that break one promise each."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from attrs import evolve

from terra_btrfs import BtrfsPlugin
from terra_btrfs.groups import mounts_of
from terra_btrfs.settings import Settings
from terra_btrfs.superblock import identity_of
from terra_core.config.node import DiskGroup
from terra_core.config.session import Session
from terra_core.errors import TerraError
from terra_core.hookspecs import BootStep, CheckedGroup, PreparedGroup, Roots
from terra_core.system.formatting import attached, examine
from terra_core.system.process import run
from terra_core.testing import FilesystemConformance
from tests.integration.testing.breaking import broken

_good = BtrfsPlugin()


class _Kit(FilesystemConformance):
    name = "btrfs"
    groups = {"one disk": ({}, 1), "raid1": ({"type": "raid1"}, 2)}  # noqa: RUF012


def _check_nothing(self: Any, group: DiskGroup, sizes: Sequence[int], session: Session) -> CheckedGroup:
    return CheckedGroup(capacity=sum(sizes))


def _twice_as_much(self: Any, group: DiskGroup, sizes: Sequence[int], session: Session) -> CheckedGroup:
    return evolve(_good.check_disks(group, sizes, session), capacity=3 * sum(sizes))


def _without_a_name(self: Any, group: DiskGroup, sizes: Sequence[int], session: Session) -> CheckedGroup:
    try:
        return _good.check_disks(group, sizes, session)
    except TerraError as error:
        raise TerraError("a disk is too small") from error


def _at_once(
    self: Any, group: DiskGroup, devices: Sequence[Path], work: Path, session: Session
) -> AbstractContextManager[PreparedGroup]:
    for device in devices:
        device.write_bytes(b"mine")
    return _good.prepare_disks(group, devices, work, session)


@contextmanager
def _by_device(group: DiskGroup, devices: Sequence[Path], work: Path, session: Session) -> Iterator[PreparedGroup]:
    with _good.prepare_disks(group, devices, work, session) as made:
        yield evolve(made, mounts=tuple(evolve(mount, source="/dev/sda") for mount in made.mounts))


@contextmanager
def _without_subvolumes(group: DiskGroup, devices: Sequence[Path], work: Path, session: Session) -> Iterator[PreparedGroup]:
    with _good.prepare_disks(group, devices, work, session) as made:
        yield evolve(made, mounts=tuple(evolve(mount, path="/") for mount in made.mounts[:1]))


@contextmanager
def _left_attached(group: DiskGroup, devices: Sequence[Path], work: Path, session: Session) -> Iterator[PreparedGroup]:
    with _good.prepare_disks(group, devices, work, session) as made:
        try:
            yield made
        except BaseException:
            work.parent.joinpath("attached").write_bytes(bytes(1 << 20))
            run(["losetup", "--find", work.parent / "attached"])
            raise


@contextmanager
def _over_what_is_there(group: DiskGroup, devices: Sequence[Path], work: Path, session: Session) -> Iterator[PreparedGroup]:
    for device in devices:
        size = device.stat().st_size
        os.truncate(device, 0)
        os.truncate(device, size)
    with _good.prepare_disks(group, devices, work, session) as made:
        yield made


@contextmanager
def _under_the_former_name(group: DiskGroup, devices: Sequence[Path]) -> Iterator[PreparedGroup]:
    with attached(examine(devices)) as nodes:
        run(["btrfs", "device", "scan", *nodes])
        identity = identity_of(nodes[0], devices[0])
        yield PreparedGroup(
            mounts=mounts_of(group, nodes[0], identity, Settings()), kernel_arguments=identity.kernel_arguments, root="os"
        )


@contextmanager
def _each_once(group: DiskGroup, devices: Sequence[Path], work: Path, session: Session) -> Iterator[PreparedGroup]:
    alone = evolve(group, type=type(group.type)("single"), disk=group.disk[:1])
    with _good.prepare_disks(alone, devices[:1], work, session) as made:
        yield made


@contextmanager
def _with_a_lock_file(group: DiskGroup, devices: Sequence[Path], work: Path, session: Session) -> Iterator[PreparedGroup]:
    lock = work.parent / "lock"
    if lock.exists():
        raise TerraError("another program formats disks")
    lock.touch()
    with _good.prepare_disks(group, devices, work, session) as made:
        yield made
    lock.unlink()


def _preparing(way: Any) -> Mapping[str, object]:
    return {"prepare_disks": lambda self, group, devices, work, session: way(group, devices, work, session)}


PROMISES: dict[str, Mapping[str, object]] = {
    "test_it_fills_the_role_and_is_made_for_this_contract": {"contract": 3},
    "test_a_key_that_its_table_does_not_know_is_refused_by_name": {"settings": None},
    "test_what_it_can_do_is_said_to_fit": {"check_disks": _twice_as_much},
    "test_what_it_cannot_do_is_refused_before_anything_is_written": {"check_disks": _check_nothing},
    "test_a_disk_that_is_too_small_is_refused_by_name": {"check_disks": _without_a_name},
    "test_nothing_is_written_before_it_is_entered": {"prepare_disks": _at_once},
    "test_a_system_can_be_written_and_is_on_the_disks": _preparing(_by_device),
    "test_subvolumes_are_in_their_places": _preparing(_without_subvolumes),
    "test_nothing_stays_mounted_when_what_follows_fails": _preparing(_left_attached),
    "test_a_disk_that_is_not_blank_is_left_as_it_is": _preparing(_over_what_is_there),
    "test_a_copy_is_a_file_system_of_its_own_beside_its_origin": {
        "renew_identity": lambda self, group, devices, work, session: _under_the_former_name(group, devices)
    },
    "test_a_disk_that_is_no_copy_is_not_renewed": {
        "renew_identity": lambda self, group, devices, work, session: _good.prepare_disks(group, devices, work, session)
    },
    "test_the_roots_beside_a_mounted_one_are_found": {
        "open_roots": lambda self, root, work, session: nullcontext(Roots(places={"os": work}, running="os"))
    },
    "test_a_root_is_copied_beside_another_and_removed": {
        "copy_root": lambda self, source, target, left_out, session: _good.copy_root(None, target, left_out, session)
    },
    "test_one_disk_twice_is_refused": _preparing(_each_once),
    "test_after_a_kill_blank_disks_can_be_used_again": _preparing(_with_a_lock_file),
    "test_a_machine_is_told_how_to_mount_its_root": {"mount_root": lambda self, group, session: BootStep(script="done\n")},
}

globals().update(broken(_Kit, BtrfsPlugin, PROMISES))
