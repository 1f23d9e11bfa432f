"""What the contract promises of the role ``bootloader``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import pytest
from attrs import evolve, frozen

from terra_core.config.node import Firmware
from terra_core.config.session import Session
from terra_core.config.values import Hostname
from terra_core.errors import InterruptedWork, TerraError
from terra_core.hookspecs import BootDisk, Bootloader, LocalBoot, RenderedFile, StartChoice
from terra_core.system.mounts import loop_device, loop_devices, mount_points, sweep
from terra_core.system.process import run
from terra_core.system.progress import Event
from terra_core.system.undo import Undo
from terra_core.testing.conformance import Conformance, die, everything, killed_after

_MB = 1 << 20
_SECTOR = 512
_AREA = 2048
"""The first sector of the boot loader's area, and its length in sectors."""
_CODE = 440
"""The bytes of the first sector that are a program: the disk's signature and partition table follow (UEFI, section 5.2.1)."""
_BOTH = Firmware.BOTH
_HOSTILE: Sequence[dict[str, Any]] = (
    {"filesystem": "x; reboot"}, {"root": 'os"; reboot'}, {"root": "a/../b"}, {"kernel": "boot/vmlinuz }"},
    {"kernel": "boot/../x"}, {"initrd": "boot/initrd\nreboot"}, {"steps": "boot/$(reboot)"},
    {"kernel_arguments": ("quiet", "a b")}, {"kernel_arguments": ("a\nb",)}, {"kernel_arguments": ("a;b",)},
    {"kernel_arguments": ("$(b)",)}, {"kernel_arguments": ('a"b',)},
)  # fmt: skip
"""What could be taken for something else where it stands in a menu."""


@frozen
class _Disk:
    """A disk of the kit, and its EFI system partition, as loop devices."""

    device: Path
    esp: Path

    def outside(self) -> tuple[bytes, bytes, bytes]:
        """Return what is on the disk beside the boot loader's area and the program in the first sector."""
        content = self.device.read_bytes()
        return content[_CODE:_SECTOR], content[_SECTOR : _AREA * _SECTOR], content[2 * _AREA * _SECTOR :]

    def area(self) -> tuple[bytes, bytes]:
        """Return the program in the first sector, and the area."""
        content = self.device.read_bytes()
        return content[:_CODE], content[_AREA * _SECTOR : 2 * _AREA * _SECTOR]

    def files(self, place: Path) -> dict[str, bytes]:
        """Return the files of the EFI system partition, copied to a directory that is yet to be made."""
        place.mkdir()
        run(["mcopy", "-s", "-n", "-Q", "-i", self.esp, "::/", place])
        return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


class BootloaderConformance(Conformance[Bootloader]):
    """The promises of a boot loader, on loop devices. What is on an EFI system partition is read by mtools(1).

    :cvar firmwares: what it starts machines by.
    :cvar type: a file system that it can read the kernel from, as mount(8) has it.
    """

    _role = Bootloader
    firmwares: ClassVar[Sequence[Firmware]] = tuple(Firmware)
    type: ClassVar[str] = "ext4"

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run each test for every firmware that the class names."""
        if "firmware" in metafunc.fixturenames:
            metafunc.parametrize("firmware", self.firmwares, ids=[one.value for one in self.firmwares])

    @pytest.fixture
    def disks(self, tmp_path: Path) -> Iterator[list[_Disk]]:
        """Return two disks that are written all over, each with a partition table, and blank EFI system partitions."""
        place = tmp_path / "disks"
        place.mkdir()
        with Undo() as undo:
            made = []
            for at in range(2):
                disk, esp = place / f"disk-{at}", place / f"esp-{at}"
                disk.write_bytes(bytes([0xA5]) * (4 * _MB))
                run(["sfdisk", "--quiet", "--wipe", "never", disk], stdin=f"label: dos\nstart={2 * _AREA}\n".encode())
                esp.touch()
                os.truncate(esp, 64 * _MB)
                made.append(_Disk(*(undo.enter_context(loop_device(file)) for file in (disk, esp))))
            own = {str(path) for disk in made for path in (disk.device, disk.esp)}
            yield made
            left = [str(point.path) for point in mount_points() if tmp_path in point.path.parents]
            left += [str(loop.path) for loop in loop_devices() if tmp_path in loop.file.parents and str(loop.path) not in own]
            if left:
                sweep(tmp_path, tmp_path)
            assert left == [], "nothing stays mounted or attached"

    @pytest.fixture
    def work(self, tmp_path: Path) -> Callable[[], Path]:
        """Return what makes an empty directory."""
        numbers = iter(range(100))

        def make() -> Path:
            place = tmp_path / f"work-{next(numbers)}"
            place.mkdir()
            return place

        return make

    def boot(self, disks: Sequence[_Disk], firmware: Firmware = _BOTH) -> LocalBoot:
        """Return what a machine boots from disks."""
        return LocalBoot(
            hostname=Hostname("conformance-01"),
            disks=tuple(
                BootDisk(
                    device=disk.device,
                    core_sector=_AREA if firmware.bios else None,
                    core_sectors=_AREA if firmware.bios else 0,
                    esp=disk.esp if firmware.uefi else None,
                    esp_number=2 if firmware.uefi else 0,
                )
                for disk in disks
            ),
            firmware=firmware,
            filesystem="e8e6a073-0f1c-4260-8285-efce25e59373",
            type=self.type,
            kernel="boot/vmlinuz-6.1.0-conformance",
            initrd="boot/initrd.img-6.1.0-conformance",
            steps="boot/terra-steps.img",
            kernel_arguments=("boot=terra", "terra.conformance=1"),
        )

    def planned(self, boot: LocalBoot) -> LocalBoot:
        """Return the same as it is known before anything is written: without a file system, a kernel and partitions."""
        disks = tuple(evolve(disk, esp=None) for disk in boot.disks)
        return evolve(boot, disks=disks, filesystem="", root="", kernel="", initrd="", steps="", kernel_arguments=())

    def use(self, role: Bootloader, session: Session) -> None:
        """Check a machine."""
        nowhere = _Disk(session.paths.root / "disk", session.paths.root / "esp")
        role.check_bootloader(self.planned(self.boot([nowhere], self.firmwares[0])), session)

    def contents(self, disks: Sequence[_Disk]) -> list[bytes]:
        """Return all that is on some disks."""
        return [path.read_bytes() for disk in disks for path in (disk.device, disk.esp)]

    # Checking

    def test_what_will_be_done_is_said_of_every_disk_and_nothing_is_written(
        self, role: Bootloader, session: Session, disks: list[_Disk], firmware: Firmware
    ) -> None:
        before = self.contents(disks)
        said = role.check_bootloader(self.planned(self.boot(disks, firmware)), session)
        for disk in disks:
            assert any(str(disk.device) in line for line in said)
        assert all("\n" not in line for line in said)
        assert self.contents(disks) == before
        assert everything(session.paths.root) == {}

    def test_an_area_that_is_too_small_is_refused_by_its_disk(
        self, role: Bootloader, session: Session, disks: list[_Disk], firmware: Firmware, work: Callable[[], Path]
    ) -> None:
        if not firmware.bios:
            return
        boot = self.boot(disks, firmware)
        small = evolve(boot, disks=(boot.disks[0], evolve(boot.disks[1], core_sectors=1)))
        before = self.contents(disks)
        with pytest.raises(TerraError, match=str(disks[1].device)):
            role.check_bootloader(self.planned(small), session)
        with pytest.raises(TerraError, match=str(disks[1].device)):
            role.install_bootloader(small, work(), session)
        assert disks[1].device.read_bytes() == before[2]

    def test_a_root_that_it_cannot_read_is_refused_before_anything_is_written(
        self, role: Bootloader, session: Session, disks: list[_Disk], firmware: Firmware
    ) -> None:
        with pytest.raises(TerraError, match="no-such-type"):
            role.check_bootloader(self.planned(evolve(self.boot(disks, firmware), type="no-such-type")), session)

    # Installing

    def test_nothing_changes_but_what_is_its_own(
        self, role: Bootloader, session: Session, disks: list[_Disk], firmware: Firmware, work: Callable[[], Path]
    ) -> None:
        before, outside = self.contents(disks), [disk.outside() for disk in disks]
        role.install_bootloader(self.boot(disks[:1], firmware), work(), session)
        after = self.contents(disks)
        assert after[2:] == before[2:], "the other disk was not named"
        assert (after[0] == before[0]) == (not firmware.bios), "UEFI needs nothing of a disk but the partition"
        assert (after[1] == before[1]) == (not firmware.uefi)
        assert [disk.outside() for disk in disks] == outside, "its signature and partition table stay, and what follows"
        assert everything(session.paths.root) == {}

    def test_every_disk_can_start_the_machine_alone(
        self, role: Bootloader, session: Session, disks: list[_Disk], firmware: Firmware, work: Callable[[], Path]
    ) -> None:
        files = role.install_bootloader(self.boot(disks, firmware), work(), session)
        self.expect_files(files)
        if firmware.bios:
            assert disks[0].area() == disks[1].area()
            program, area = disks[0].area()
            assert program != bytes([0xA5]) * _CODE, "a BIOS starts the first sector"
            assert area != bytes([0xA5]) * len(area)
        if firmware.uefi:
            found = [self.partition(disk, work) for disk in disks]
            assert found[0] == found[1]
            assert "efi/boot/bootx64.efi" in {name.lower() for name in found[0]}, "where firmware looks by itself"

    def expect_files(self, files: Sequence[RenderedFile]) -> None:
        """Check what lets the machine start: that it has places in the machine, and names what is started."""
        boot = self.boot([])
        assert files
        assert len({file.path for file in files}) == len(files)
        for file in files:
            pure = PurePosixPath(file.path)
            assert str(pure) == file.path, "without a leading slash, without . and .."
            assert not pure.is_absolute()
            assert ".." not in pure.parts
        text = b"".join(file.content for file in files).decode(errors="replace")
        for word in (boot.kernel, boot.initrd, boot.steps, *boot.kernel_arguments):
            assert word in text, "what is started is written last, when all else is on the disks"

    def partition(self, disk: _Disk, work: Callable[[], Path]) -> dict[str, bytes]:
        """Return the files of an EFI system partition, none of which starts a kernel by itself."""
        found = disk.files(work() / "files")
        kernel = self.boot([]).kernel.encode()
        assert not any(kernel in content for content in found.values()), "it starts nothing yet"
        return found

    def test_installing_is_idempotent(
        self, role: Bootloader, session: Session, disks: list[_Disk], firmware: Firmware, work: Callable[[], Path]
    ) -> None:
        boot = self.boot(disks[:1], firmware)
        files = role.install_bootloader(boot, work(), session)
        first = disks[0].device.read_bytes(), self.partition(disks[0], work) if firmware.uefi else {}
        assert role.install_bootloader(boot, work(), session) == files
        assert (disks[0].device.read_bytes(), self.partition(disks[0], work) if firmware.uefi else {}) == first

    def test_a_choice_is_kept_in_place_on_each_disk(
        self, role: Bootloader, session: Session, disks: list[_Disk], firmware: Firmware, work: Callable[[], Path]
    ) -> None:
        if not role.brings("write_choice"):
            return
        plain = self.boot(disks, firmware)
        named = tuple(evolve(one, esp=disk.esp, esp_number=2) for one, disk in zip(plain.disks, disks, strict=True))
        with pytest.raises(TerraError, match=str(disks[0].esp)):
            role.read_choice(disks[0].esp, session)
        role.install_bootloader(evolve(plain, root="os", disks=named), work(), session)
        assert [role.read_choice(disk.esp, session).kept for disk in disks] == ["os", "os"]
        before = self.contents(disks)
        wanted = StartChoice(kept="os", once="os.12", tried="os.3")
        assert role.write_choice(disks[0].esp, wanted, session) is True
        assert role.read_choice(disks[0].esp, session) == wanted
        assert role.read_choice(disks[1].esp, session) == StartChoice(kept="os")
        after = self.contents(disks)
        changed = {at // _SECTOR for at, (one, other) in enumerate(zip(before[1], after[1], strict=True)) if one != other}
        assert len(changed) == 1, "a power cut leaves the former choice or this one"
        assert after[:1] + after[2:] == before[:1] + before[2:]
        with pytest.raises(TerraError):
            role.write_choice(disks[0].esp, StartChoice(kept="os\nx"), session)

    def test_what_a_kill_left_half_way_is_made_whole(
        self, role: Bootloader, session: Session, disks: list[_Disk], firmware: Firmware, work: Callable[[], Path]
    ) -> None:
        seen: list[Event] = []

        def deadly(event: Event) -> None:
            seen.append(event)
            if len(seen) == 2:
                die()

        place = work()
        killed_after(lambda: role.install_bootloader(self.boot(disks, firmware), place, session.reporting_to(deadly)))
        files = role.install_bootloader(self.boot(disks, firmware), work(), session)
        self.expect_files(files)
        assert disks[0].area() == disks[1].area()
        if firmware.uefi:
            assert self.partition(disks[0], work) == self.partition(disks[1], work)

    @pytest.mark.parametrize("failure", [InterruptedWork("asked to"), KeyboardInterrupt()], ids=["listener", "keyboard"])
    def test_who_listens_can_end_it(
        self, role: Bootloader, session: Session, disks: list[_Disk], work: Callable[[], Path], failure: BaseException
    ) -> None:
        def stop(event: Event) -> None:
            raise failure

        outside = [disk.outside() for disk in disks]
        with pytest.raises(type(failure)):
            role.install_bootloader(self.boot(disks, self.firmwares[0]), work(), session.reporting_to(stop))
        assert [disk.outside() for disk in disks] == outside

    def test_an_image_without_a_kernel_is_refused_before_anything_is_written(
        self, role: Bootloader, session: Session, disks: list[_Disk], firmware: Firmware, work: Callable[[], Path]
    ) -> None:
        before = self.contents(disks)
        with pytest.raises(TerraError, match="kernel"):
            role.install_bootloader(evolve(self.boot(disks, firmware), kernel="", initrd=""), work(), session)
        assert self.contents(disks) == before

    @pytest.mark.parametrize("failing", ["device", "esp"])
    def test_a_disk_that_is_gone_is_named(
        self, role: Bootloader, session: Session, disks: list[_Disk], work: Callable[[], Path], tmp_path: Path, failing: str
    ) -> None:
        for firmware in self.firmwares:
            if firmware.bios if failing == "device" else firmware.uefi:
                boot = self.boot(disks[:1], firmware)
                place = tmp_path / "gone" / "disk"
                gone = evolve(boot.disks[0], device=place) if failing == "device" else evolve(boot.disks[0], esp=place)
                with pytest.raises(TerraError, match=str(place)):
                    role.install_bootloader(evolve(boot, disks=(gone,)), work(), session)

    def test_nothing_becomes_a_word_of_a_menu(
        self, role: Bootloader, session: Session, disks: list[_Disk], work: Callable[[], Path]
    ) -> None:
        before = self.contents(disks)
        for change in _HOSTILE:
            try:
                role.install_bootloader(evolve(self.boot(disks), **change), work(), session)
            except TerraError:
                continue
            raise AssertionError(f"{change} was taken")
        assert self.contents(disks) == before, "and nothing is written"
