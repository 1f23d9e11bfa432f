"""GRUB's own tools and files: core images, and EFI system partitions, on image files."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from terra_core.config.node import Firmware
from terra_core.config.session import Session
from terra_core.config.values import parse_hostname
from terra_core.errors import TerraError
from terra_core.hookspecs import BootDisk, LocalBoot, StartChoice
from terra_core.system.process import run
from terra_grub import plugin
from terra_grub.core import SECTOR, make_core, sectors_of
from terra_grub.environment import PLACE
from terra_grub.esp import DIRECTORY, GRUB, SHIM
from terra_grub.menus import MENU, boot_menu, start_menu
from terra_grub.settings import Settings

MB = 1024 * 1024
UUID = "e8e6a073-0f1c-4260-8285-efce25e59373"


def boot(disk: Path, esp: Path | None, firmware: Firmware, *, sectors: int = 2048) -> LocalBoot:
    return LocalBoot(
        hostname=parse_hostname("mt-01"),
        disks=(BootDisk(device=disk, core_sector=2048, core_sectors=sectors, esp=esp, esp_number=2),),
        firmware=firmware,
        filesystem=UUID,
        root="os",
        kernel="boot/vmlinuz-6.1",
        initrd="boot/initrd.img-6.1",
        kernel_arguments=("boot=terra",),
    )


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Make a disk that is filled with one byte, with a partition table."""
    path = tmp_path / "disk.img"
    path.write_bytes(bytes([0xA5]) * (8 * MB))
    run(["sfdisk", "--quiet", "--wipe", "never", path], stdin=b"label: dos\nstart=4096\n")
    return path


@pytest.fixture
def esp(tmp_path: Path) -> Path:
    """Make a blank partition."""
    path = tmp_path / "esp.img"
    with path.open("xb") as file:
        file.truncate(64 * MB)
    return path


def test_nothing_changes_but_the_sectors_of_the_boot_loader(disk: Path, tmp_path: Path) -> None:
    before, table = disk.read_bytes(), run(["sfdisk", "--dump", disk]).text
    work = tmp_path / "work"
    work.mkdir()
    (file,) = plugin.install_bootloader(boot(disk, None, Firmware.BIOS), work, Session())
    after = disk.read_bytes()
    used = sectors_of(make_core(start_menu(boot(disk, None, Firmware.BIOS)), work)) * SECTOR
    assert after[SECTOR:MB] == before[SECTOR:MB]
    assert after[MB + used :] == before[MB + used :]
    assert after[MB : MB + used] != before[MB : MB + used]
    assert run(["sfdisk", "--dump", disk]).text == table
    assert file.path == MENU
    plugin.install_bootloader(boot(disk, None, Firmware.BIOS), _fresh(tmp_path), Session())
    assert disk.read_bytes() == after, "the second time changes nothing"


def test_the_efi_system_partition(disk: Path, esp: Path, tmp_path: Path) -> None:
    wanted = boot(disk, esp, Firmware.UEFI)
    before = disk.read_bytes()
    for _ in range(2):
        plugin.install_bootloader(wanted, _fresh(tmp_path), Session())
    assert disk.read_bytes() == before, "UEFI needs nothing of the disk but the partition"
    for path, source in ((f"{DIRECTORY}/shimx64.efi", SHIM), ("EFI/BOOT/BOOTX64.EFI", SHIM), ("EFI/BOOT/grubx64.efi", GRUB)):
        assert run(["mcopy", "-n", "-i", esp, f"::/{path}", "-"]).stdout == source.read_bytes()
    names = run(["mdir", "-/", "-b", "-i", esp, "::/"]).text.split()
    (menu,) = [name for name in names if name.endswith("/grub.cfg")]
    assert run(["mcopy", "-n", "-i", esp, menu, "-"]).text == start_menu(wanted)
    run(["fsck.fat", "-n", esp])


def test_what_will_be_done_is_said(disk: Path, esp: Path) -> None:
    first, second = plugin.check_bootloader(boot(disk, esp, Firmware.BOTH), Session())
    assert first.startswith(f"{disk}: GRUB for a BIOS: sector 0 and ")
    assert second == f"{disk}: signed shim and GRUB for UEFI"


@pytest.mark.parametrize("firmware", [Firmware.BIOS, Firmware.UEFI])
def test_what_is_started_is_written_in_place(firmware: Firmware, disk: Path, esp: Path, tmp_path: Path) -> None:
    """Check by GRUB's own program what Terra writes, and the other way round."""
    plugin.install_bootloader(boot(disk, esp, firmware), _fresh(tmp_path), Session())
    assert plugin.read_choice(esp, Session()) == StartChoice(kept="os")
    before = esp.read_bytes()
    assert plugin.write_choice(esp, StartChoice(kept="os", once="os.1", tried="x" * 64), Session()) is True
    after = esp.read_bytes()
    changed = [at for at in range(0, len(after), SECTOR) if after[at : at + SECTOR] != before[at : at + SECTOR]]
    assert len(changed) == 1, "one sector, which is written as a whole or not"
    block = tmp_path / "grubenv"
    run(["mcopy", "-n", "-i", esp, f"::/{PLACE}", block])
    assert run(["grub-editenv", block, "list"]).text.split() == ["kept=os", "try=os.1", "tried=" + "x" * 64]
    run(["grub-editenv", block, "set", "try=", "tried=os.1", "mine=yes"])
    run(["mcopy", "-o", "-i", esp, block, f"::/{PLACE}"])
    assert plugin.read_choice(esp, Session()) == StartChoice(kept="os", tried="os.1")
    run(["fsck.fat", "-n", esp])
    names = run(["mdir", "-/", "-b", "-i", esp, "::/"]).text.split()
    assert (f"::/{PLACE}" in names, len(names) > 6) == (True, firmware.uefi), "a BIOS reads nothing else there"


def test_a_partition_without_the_block_is_named_and_left_as_it_is(disk: Path, esp: Path, tmp_path: Path) -> None:
    for bits in ("", "32", "16"):
        if bits:
            run(["mkfs.fat", "-F", bits, esp])
        before = esp.read_bytes()
        for action in (lambda: plugin.read_choice(esp, Session()), lambda: plugin.write_choice(esp, StartChoice(), Session())):
            with pytest.raises(TerraError, match=f"{esp}: the boot loader keeps nothing there: "):
                action()
        assert esp.read_bytes() == before
    with pytest.raises(TerraError, match="No such file"):
        plugin.read_choice(tmp_path / "gone", Session())
    short = tmp_path / "short"
    short.write_bytes(b"# GRUB Environment Block\n")
    plugin.install_bootloader(boot(disk, esp, Firmware.UEFI), _fresh(tmp_path), Session())
    run(["mcopy", "-o", "-i", esp, short, f"::/{PLACE}"])
    for action in (lambda: plugin.read_choice(esp, Session()), lambda: plugin.write_choice(esp, StartChoice(), Session())):
        with pytest.raises(TerraError, match="environment block"):
            action()


@pytest.mark.parametrize("kind", ["btrfs", "ext4", "xfs"])
def test_the_core_image_reads_one_kind_of_file_system(kind: str, tmp_path: Path) -> None:
    menu = start_menu(boot(tmp_path, None, Firmware.BIOS))
    assert len(make_core(menu, tmp_path, kind)) < len(make_core(menu, tmp_path))


@pytest.mark.parametrize("subvolume", ["os", "", "systems/@os"])
@pytest.mark.parametrize("menu", ["start", "boot"])
def test_grub_finds_the_menus_well_formed(menu: str, subvolume: str, tmp_path: Path) -> None:
    wanted = evolve(boot(tmp_path, None, Firmware.BOTH), root=subvolume)
    path = tmp_path / "grub.cfg"
    path.write_text(start_menu(wanted) if menu == "start" else boot_menu(wanted, Settings()))
    run(["grub-script-check", path])


def _fresh(directory: Path) -> Path:
    path = directory / f"work-{len(list(directory.iterdir()))}"
    path.mkdir()
    return path
