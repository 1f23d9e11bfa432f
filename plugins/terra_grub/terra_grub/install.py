"""GRUB on every disk that a machine may start from."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from attrs import evolve

from terra_core.errors import TerraError
from terra_core.hookspecs import LocalBoot, RenderedFile, StartChoice
from terra_core.system.packages import name_packages
from terra_core.system.process import run
from terra_core.system.progress import Event, Report
from terra_grub import core, environment, esp, firmware
from terra_grub.menus import MENU, boot_menu, start_menu
from terra_grub.settings import Settings

name_packages({
    "efibootmgr": "efibootmgr", "grub-mkimage": "grub-common", "mcopy": "mtools", "mkfs.fat": "dosfstools",
})  # fmt: skip

_UNKNOWN = "00000000-0000-0000-0000-000000000000"


def check(boot: LocalBoot, settings: Settings) -> list[str]:
    """Return what :func:`install` will do, after checking that it can; nothing is written to any disk.

    :raises TerraError: when a file or program is missing, or an area is too small.
    """
    trial = evolve(boot, filesystem=_UNKNOWN, root="os", kernel="boot/vmlinuz", initrd="boot/initrd", steps="boot/steps")
    boot_menu(trial, settings)
    if boot.firmware.uefi:
        esp.require_files()
        esp.configuration_directory(esp.GRUB.read_bytes())
    if any(disk.esp_number for disk in boot.disks):
        for program in ("mkfs.fat", "mcopy"):
            run([program, "--help"], accept=range(256))
    said = []
    if boot.firmware.bios:
        if not (core.MODULES / "boot.img").is_file():
            raise TerraError(
                f"{core.MODULES}: GRUB for a BIOS is not there", hint="install the packages grub-pc-bin and grub-common"
            )
        with tempfile.TemporaryDirectory(prefix="terra-grub-") as work:
            image = core.make_core(start_menu(trial), Path(work), boot.type)
        for disk in boot.disks:
            core.require_room(disk.device, image, disk.core_sectors)
            said.append(f"{disk.device}: GRUB for a BIOS: sector 0 and {core.sectors_of(image)} from {disk.core_sector}")
    return said + [f"{disk.device}: signed shim and GRUB for UEFI" for disk in boot.disks if boot.firmware.uefi]


def install(boot: LocalBoot, work: Path, settings: Settings, report: Report) -> Sequence[RenderedFile]:
    """Write GRUB to every disk; it starts nothing before the menu that is returned is in the machine's root.

    :param work: an empty directory.
    :raises TerraError: naming the disk, or what the image lacks.
    """
    if not boot.kernel:
        raise TerraError(
            "the image has no kernel with an initial RAM disk in /boot, so nothing can be booted from a disk",
            hint="build it on a base such as terraos, or install a kernel package in its userland",
        )
    menu, first = boot_menu(boot, settings), start_menu(boot)
    image = core.make_core(first, work, boot.type) if boot.firmware.bios else b""
    tree = esp.make_tree(first, _block(boot), work, uefi=boot.firmware.uefi)  # once for all disks: this may be in memory
    for at, disk in enumerate(boot.disks):
        report(Event("boot", f"write the boot loader to {disk.device}", at, len(boot.disks), "disks"))
        if disk.esp is not None:
            esp.write(disk.esp, tree)
        if boot.firmware.bios and disk.core_sector is not None:
            core.embed(disk.device, image, disk.core_sector, disk.core_sectors)
    if boot.firmware.uefi:
        firmware.register([disk for disk in boot.disks if disk.esp is not None], report)
    report(Event("boot", "the boot loader is on every disk", len(boot.disks), len(boot.disks), "disks"))
    return [RenderedFile(path=MENU, content=menu.encode(), mode=0o600)]


def render(boot: LocalBoot, settings: Settings) -> Sequence[RenderedFile]:
    """Return the menu of a further version of a machine.

    :raises TerraError: for what cannot stand in a menu.
    """
    return [RenderedFile(path=MENU, content=boot_menu(boot, settings).encode(), mode=0o600)]


def _block(boot: LocalBoot) -> bytes:
    """Return what a disk starts that is installed: the version that is."""
    return environment.render(StartChoice(kept=boot.root if environment.VERSION.fullmatch(boot.root) else ""))
