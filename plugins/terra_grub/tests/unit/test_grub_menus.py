"""What GRUB reads, and that nothing from a file can say more than it should."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from terra_core.config.node import Firmware
from terra_core.config.structure import structure
from terra_core.config.values import parse_hostname
from terra_core.errors import TerraError
from terra_core.hookspecs import BootDisk, LocalBoot
from terra_grub.core import SECTOR, drivers_of, first_sector, lay_out, require_room, sectors_of
from terra_grub.esp import configuration_directory
from terra_grub.firmware import parse_entries
from terra_grub.menus import boot_menu, start_menu
from terra_grub.settings import Settings

UUID = "e8e6a073-0f1c-4260-8285-efce25e59373"
BOOT = LocalBoot(
    hostname=parse_hostname("mt-01"),
    disks=(BootDisk(device=Path("/dev/sda"), core_sector=2048, core_sectors=2048),),
    firmware=Firmware.BOTH,
    filesystem=UUID,
    root="os",
    kernel="boot/vmlinuz-6.1.0-42-amd64",
    initrd="boot/initrd.img-6.1.0-42-amd64",
    steps="boot/terra-steps.img",
    kernel_arguments=("boot=terra",),
)


def test_the_menu_starts_the_subvolume_by_version() -> None:
    menu = boot_menu(BOOT, Settings())
    assert 'terra_linux "/os" "os"\n' in menu
    line = f'linux "$1/boot/vmlinuz-6.1.0-42-amd64" terra.uuid={UUID} version=$2 $3 boot=terra net.ifnames=0 console=tty0'
    assert line in menu
    assert 'set steps="$1/boot/terra-steps.img"\n' in menu
    assert 'initrd "$1/boot/initrd.img-6.1.0-42-amd64" $steps; then\n' in menu
    assert 'initrd "$links/initrd.img" $steps;' in menu
    assert "serial --unit=0" in menu
    assert "serial" not in boot_menu(BOOT, Settings(serial=-1))
    assert "set timeout=9\n" in boot_menu(BOOT, Settings(timeout=9))


def test_the_file_system_is_named_once_whoever_names_it() -> None:
    told = evolve(BOOT, kernel_arguments=("boot=terra", f"terra.uuid={UUID}"))
    assert boot_menu(told, Settings()) == boot_menu(BOOT, Settings())


def test_a_root_that_is_all_of_its_file_system() -> None:
    """Check a root as ext4 and xfs have it: there are no subvolumes, and so no other versions."""
    whole = evolve(BOOT, root="", kernel_arguments=("boot=local", f"root=UUID={UUID}"))
    menu, first = boot_menu(whole, Settings()), start_menu(whole)
    assert 'configfile "/boot/grub/grub.cfg"' in first
    assert 'set prefix="($root)/boot/grub"' in first
    assert 'set default="terra"\n' in menu
    assert '--id "terra" {' in menu
    assert 'terra_linux "" ""\n' in menu
    assert f"root=UUID={UUID}" in menu
    assert "version" not in menu
    assert "load_env" not in first
    assert "panic" not in menu


@pytest.mark.parametrize(("kind", "drivers"), [("btrfs", "btrfs"), ("ext4", "ext2"), ("xfs", "xfs"), ("", "btrfs ext2 xfs")])
def test_the_menu_loads_what_reads_the_file_system(kind: str, drivers: str) -> None:
    menu = boot_menu(evolve(BOOT, type=kind), Settings())
    assert drivers_of(kind) == tuple(drivers.split())
    assert [line.split()[1] for line in menu.splitlines() if line.startswith("insmod ")] == [*drivers.split(), "regexp"]


def test_a_file_system_that_grub_cannot_read() -> None:
    with pytest.raises(TerraError, match="GRUB cannot read the machine's root, which is on paperfs") as told:
        boot_menu(evolve(BOOT, type="paperfs"), Settings())
    assert told.value.hint == "use one of btrfs, ext2, ext3, ext4, xfs"


@pytest.mark.parametrize(("name", "default"), [("os", "os"), ("1", "0"), ("2026-11", "0"), ("0x1", "0"), ("v2", "v2")])
def test_a_subvolume_is_not_taken_for_the_place_of_an_entry(name: str, default: str) -> None:
    """Check that a subvolume's name is no number of an entry: GRUB's second entry, 1, is the one for repairs."""
    menu = boot_menu(evolve(BOOT, root=name), Settings())
    assert f'set default="{default}"\n' in menu
    assert f'menuentry "Terra: {BOOT.hostname}" --id "{name}" {{' in menu


@pytest.mark.parametrize("name", ["@", "@rootfs", "systems/os-2", "_a/@b"])
def test_subvolumes_as_others_name_them(name: str) -> None:
    menu = boot_menu(evolve(BOOT, root=name), Settings())
    assert f'terra_linux "/{name}" "{name}"\n' in menu
    first = start_menu(evolve(BOOT, root=name))
    assert (f'"$kept" "{name}"; do' if "/" not in name else f'configfile "/{name}/boot/grub/grub.cfg"') in first


def test_the_first_menu_finds_the_second_and_says_when_it_is_not_there() -> None:
    first = start_menu(BOOT)
    assert f"--fs-uuid --set=root {UUID}" in first
    assert 'for terra_version in "$terra_try" "$kept" "os"; do' in first
    assert 'configfile "/$terra_version/boot/grub/grub.cfg"' in first
    assert "is not finished" in first


def test_a_version_on_trial_starts_again_by_itself() -> None:
    menu = boot_menu(BOOT, Settings(kernel_arguments=("panic=0",)))
    assert 'set words="panic=10 softlockup_panic=1 terra.try=$2"' in menu
    assert menu.count(" boot=terra panic=0 $words") == 2, "the last word of a name counts"
    assert 'set default="Terra: mt-01, version $terra_version"' in menu


@pytest.mark.parametrize(
    "change",
    [
        {"filesystem": "x; reboot"}, {"filesystem": ""},
        {"root": 'os"; reboot'}, {"root": "$os"}, {"root": "-os"},
        {"root": "a/../b"}, {"root": "a/"}, {"root": "a//b"}, {"root": "."},
        {"kernel": "boot/vmlinuz }"}, {"kernel": "boot/../x"}, {"kernel": "etc/shadow"}, {"initrd": "boot/initrd\nreboot"},
        {"kernel_arguments": ("boot=terra", "a;b")}, {"kernel_arguments": ("$(x)",)}, {"kernel_arguments": ("a b",)},
        {"kernel_arguments": ("{{x",)}, {"kernel_arguments": ("-x",)}, {"kernel_arguments": ("x" * 600,)},
    ],
)  # fmt: skip
def test_what_could_be_taken_for_something_else_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(TerraError):
        boot_menu(evolve(BOOT, **change), Settings())  # type: ignore[arg-type]  # each has the type of its key


@pytest.mark.parametrize(
    "table",
    [{"timeout": -1}, {"timeout": True}, {"serial": 4}, {"kernel_arguments": ["a;b"]}, {"kernel_arguments": "x"}, {"x": 1}],
)
def test_settings_are_strict(table: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"expected|no such key"):
        structure(table, Settings)


def test_the_first_sector_keeps_what_is_the_disks() -> None:
    boot = bytes(range(256)) * 2
    present = bytes([0xEE]) * SECTOR
    made = first_sector(boot, present, 2048)
    assert made[:3] == boot[:3]
    assert made[0x03:0x5A] == present[0x03:0x5A], "the parameter block"
    assert made[0x5C:0x64] == (2048).to_bytes(8, "little")
    assert made[0x66:0x68] == b"\x90\x90"
    assert made[0x1B8:] == present[0x1B8:], "the signature and the partition table"


def test_a_core_image_says_where_the_rest_of_it_is() -> None:
    core = bytearray(1300)
    core[510:512] = (0x820).to_bytes(2, "little")
    made = lay_out(bytes(core), 2048)
    assert len(made) == 3 * SECTOR
    assert made[500:512] == (2049).to_bytes(8, "little") + (2).to_bytes(2, "little") + (0x820).to_bytes(2, "little")
    with pytest.raises(TerraError, match="does not know"):
        lay_out(bytes(1300), 2048)


def test_an_area_that_is_too_small() -> None:
    assert sectors_of(bytes(1025)) == 3
    require_room(Path("/dev/sda"), bytes(1024), 2)
    with pytest.raises(TerraError, match="62 sectors for the boot loader, and it needs 63"):
        require_room(Path("/dev/sda"), bytes(62 * SECTOR + 1), 62)


def test_where_a_signed_grub_looks() -> None:
    assert configuration_directory(b"x\0/EFI/debian\0y") == "EFI/debian"
    assert configuration_directory(b"x\0/EFI/ubuntu\0y") == "EFI/ubuntu"
    with pytest.raises(TerraError, match="does not say"):
        configuration_directory(b"x\0/EFI/../../etc\0y")


def test_terras_own_entries_of_the_firmware() -> None:
    text = (
        "BootCurrent: 0001\nBootOrder: 0001,0002\n"
        "Boot0001* Terra\tHD(2,GPT,12345678-0000-0000-0000-000000000000,0x1000,0x80000)/File(\\EFI\\terra\\shimx64.efi)\n"
        "Boot0002* debian\tHD(1,GPT,12345678-0000-0000-0000-000000000000,0x800,0x80000)/File(\\EFI\\debian\\shimx64.efi)\n"
        "Boot000A  Terra\tHD(2,GPT,22345678-0000-0000-0000-000000000000,0x1000,0x80000)/File(\\EFI\\TERRA\\SHIMX64.EFI)\n"
        "Boot000B* Terra\tHD(1,GPT,32345678-0000-0000-0000-000000000000,0x1000,0x80000)/File(\\EFI\\other\\shimx64.efi)\n"
    )
    assert parse_entries(text) == ["0001", "000A"]
