"""What GRUB makes of a version on trial, with no kernel behind it: started once, and the one that is kept after that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve, frozen

from lab.disks import MB, Disk, blank
from lab.hardware import HardDisk
from lab.machine import Machine
from lab.network import Network
from lab.shelf import Shelf
from terra_core.config.node import Firmware
from terra_core.config.session import Session
from terra_core.config.values import parse_hostname
from terra_core.hookspecs import BootDisk, Bootloader, LocalBoot, StartChoice
from terra_core.install.disks import part_device
from terra_core.install.layout import divide, render_script
from terra_core.plugins import Plugins
from terra_core.system.disks import ESP
from terra_core.system.process import run

_BUILD = Path(__file__).parent.parent.parent / "build"
_GRUB_SECONDS = 600
_FILESYSTEM = "e8e6a073-0f1c-4260-8285-efce25e59373"
_SAYS = 'while true; do\necho "STARTED $terra_version, TRIED <$terra_try>"\nsleep 2\ndone\n'
"""Again and again: what GRUB says comes in pieces, between which it moves the cursor."""


@frozen
class Tried:
    """A disk with the versions os, os.1 and os.2, of which os.1 has no kernel and the others only say that they were started.

    :param disk: the disk.
    :param esp: its EFI system partition.
    :param grub: the boot loader on it.
    """

    disk: Disk
    esp: Path
    grub: Bootloader

    def read(self) -> StartChoice:
        """Return what it starts now, as the machine has left it."""
        run(["blockdev", "--flushbufs", self.esp])
        run(["blockdev", "--flushbufs", self.disk.device])
        return self.grub.read_choice(self.esp, Session())

    def write(self, choice: StartChoice) -> None:
        """Write what it starts."""
        run(["blockdev", "--flushbufs", self.esp])
        self.grub.write_choice(self.esp, choice, Session())
        run(["sync", self.disk.device])


@pytest.fixture(params=["bios", "secure"])
def tried(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Tried, str]]:
    """Make the disk, as one for a BIOS alone and as one for both firmwares; give what it starts by as well."""
    firmware = Firmware.BIOS if request.param == "bios" else Firmware.BOTH
    with blank(tmp_path, [600]) as (disk,):
        parts = divide(600 * MB, firmware, "os")
        run(["sfdisk", "--quiet", disk.device], stdin=render_script(parts, 512).encode())
        number = next(part.number for part in parts if part.type == ESP)
        esp = part_device(disk.device, number)
        boot = LocalBoot(
            hostname=parse_hostname("tries-01"),
            disks=(BootDisk(device=disk.device, core_sector=2048, core_sectors=2048, esp=esp, esp_number=number),),
            firmware=firmware,
            filesystem=_FILESYSTEM,
            type="ext4",
            root="os",
            kernel="boot/vmlinuz-6.1",
            initrd="boot/initrd.img-6.1",
        )
        work = tmp_path / "work"
        work.mkdir()
        grub = Plugins.discover().fill(Bootloader, {}, source="test")
        grub.install_bootloader(boot, work, Session())
        (menu,) = grub.render_menu(evolve(boot, root="os.1", disks=()), Session())
        tree = tmp_path / "tree"
        for version, text in (("os", _SAYS), ("os.1", menu.content.decode()), ("os.2", _SAYS)):
            path = tree / version / menu.path
            path.parent.mkdir(parents=True)
            path.write_text(text)
        run(["mkfs.ext4", "-q", "-U", _FILESYSTEM, "-d", tree, part_device(disk.device, number + 1)])
        run(["sync", disk.device])
        yield Tried(disk, esp, grub), request.param


def test_a_version_is_tried_once(tried: tuple[Tried, str], network: Network) -> None:
    made, firmware = tried
    with Shelf(_BUILD) as shelf:

        def started(name: str) -> Machine:
            log = shelf.path / f"serial/tries-{firmware}-{name}.log"
            return Machine(network, "52:54:00:00:0e:11", log, firmware=firmware, disks=[HardDisk(made.disk.file)], memory=512)

        made.write(StartChoice(kept="os", once="os.1"))
        with started("once") as machine:
            machine.wait_for_console("Terra: os.1 cannot be started", seconds=_GRUB_SECONDS)
            machine.wait_for_console("STARTED os, TRIED <>", seconds=_GRUB_SECONDS)
        assert made.read() == StartChoice(kept="os", tried="os.1")
        made.write(StartChoice(kept="os", once="os.2"))
        with started("good") as machine:
            machine.wait_for_console("STARTED os.2, TRIED <os.2>", seconds=_GRUB_SECONDS)
        assert made.read() == StartChoice(kept="os", tried="os.2")
        made.write(StartChoice(kept="os.2", once="os.9"))
        with started("kept") as machine:
            machine.wait_for_console("STARTED os.2, TRIED <", seconds=_GRUB_SECONDS)
        run(["fsck.fat", "-n", made.esp])
