"""Boot loaders that break one promise each."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve

from terra_core.config.node import Firmware
from terra_core.config.session import Session
from terra_core.errors import TerraError
from terra_core.hookspecs import LocalBoot, RenderedFile, StartChoice
from terra_core.system.progress import silent
from terra_core.testing import BootloaderConformance
from terra_grub import GrubPlugin
from tests.integration.testing.breaking import broken

_good = GrubPlugin()
_numbers = itertools.count()


class _Kit(BootloaderConformance):
    name = "grub"
    firmwares = (Firmware.BOTH,)


def _first_disk_alone(self: Any, boot: LocalBoot, session: Session) -> Sequence[str]:
    return _good.check_bootloader(evolve(boot, disks=boot.disks[:1]), session)


def _any_area(self: Any, boot: LocalBoot, session: Session) -> Sequence[str]:
    return _good.check_bootloader(evolve(boot, disks=tuple(evolve(disk, core_sectors=2048) for disk in boot.disks)), session)


def _any_root(self: Any, boot: LocalBoot, session: Session) -> Sequence[str]:
    return _good.check_bootloader(evolve(boot, type=""), session)


def _installing(change: Callable[[LocalBoot], LocalBoot]) -> Mapping[str, object]:
    return {
        "install_bootloader": lambda self, boot, work, session: _good.install_bootloader(change(boot), work, session),
    }


def _into_the_table(self: Any, boot: LocalBoot, work: Path, session: Session) -> Sequence[RenderedFile]:
    for disk in boot.disks:
        with disk.device.open("r+b") as file:
            file.seek(446)
            file.write(b"mine")
            os.fsync(file.fileno())
    return _good.install_bootloader(boot, work, session)


def _another_each_time(self: Any, boot: LocalBoot, work: Path, session: Session) -> Sequence[RenderedFile]:
    files = _good.install_bootloader(boot, work, session)
    return [evolve(file, content=file.content + b"# %d\n" % next(_numbers)) for file in files]


def _with_a_lock_file(self: Any, boot: LocalBoot, work: Path, session: Session) -> Sequence[RenderedFile]:
    lock = work.parent / "lock"
    if lock.exists():
        raise TerraError("another program writes boot loaders")
    lock.touch()
    done = _good.install_bootloader(boot, work, session)
    lock.unlink()
    return done


def _unheard(self: Any, boot: LocalBoot, work: Path, session: Session) -> Sequence[RenderedFile]:
    return _good.install_bootloader(boot, work, session.reporting_to(silent))


def _without_a_name(self: Any, boot: LocalBoot, work: Path, session: Session) -> Sequence[RenderedFile]:
    try:
        return _good.install_bootloader(boot, work, session)
    except TerraError as error:
        raise TerraError("a disk cannot be written") from error


def _with_some_kernel(boot: LocalBoot) -> LocalBoot:
    return evolve(boot, kernel="boot/vmlinuz", initrd="boot/initrd.img")


def _on_top_of_it(self: Any, partition: Path, choice: StartChoice, session: Session) -> bool:
    done = _good.write_choice(partition, choice, session)
    with partition.open("r+b", buffering=0) as file:  # a second sector, which a power cut may leave unwritten
        file.seek(-512, os.SEEK_END)
        file.write(b"mine")
        os.fsync(file.fileno())
    return done


PROMISES: dict[str, Mapping[str, object]] = {
    "test_it_fills_the_role_and_is_made_for_this_contract": {"contract": 1},
    "test_a_key_that_its_table_does_not_know_is_refused_by_name": {"settings": None},
    "test_what_will_be_done_is_said_of_every_disk_and_nothing_is_written": {"check_bootloader": _first_disk_alone},
    "test_an_area_that_is_too_small_is_refused_by_its_disk": {"check_bootloader": _any_area},
    "test_a_root_that_it_cannot_read_is_refused_before_anything_is_written": {"check_bootloader": _any_root},
    "test_nothing_changes_but_what_is_its_own": {"install_bootloader": _into_the_table},
    "test_every_disk_can_start_the_machine_alone": _installing(lambda boot: evolve(boot, disks=boot.disks[:1])),
    "test_installing_is_idempotent": {"install_bootloader": _another_each_time},
    "test_a_choice_is_kept_in_place_on_each_disk": {"write_choice": _on_top_of_it},
    "test_what_a_kill_left_half_way_is_made_whole": {"install_bootloader": _with_a_lock_file},
    "test_who_listens_can_end_it": {"install_bootloader": _unheard},
    "test_an_image_without_a_kernel_is_refused_before_anything_is_written": _installing(_with_some_kernel),
    "test_a_disk_that_is_gone_is_named": {"install_bootloader": _without_a_name},
    "test_nothing_becomes_a_word_of_a_menu": _installing(lambda boot: evolve(boot, kernel_arguments=())),
}

globals().update(broken(_Kit, GrubPlugin, PROMISES))
