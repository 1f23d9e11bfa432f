"""A boot loader without its machine: what a disk says whose installation did not come to its end, and who starts it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lab.disks import Disk
from lab.hardware import HardDisk
from lab.machine import Machine
from lab.network import Network
from lab.shelf import Shelf
from terra_core.config.session import Session
from tests.vm.strangers import expect_own_disk_started, stranger_network

_BUILD = Path(__file__).parent.parent.parent / "build"
_GRUB_SECONDS = 240


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_it_says_that_the_installation_is_not_finished(firmware: str, half_disk: Disk, network: Network) -> None:
    with Shelf(_BUILD) as shelf, Machine(
        network,
        "52:54:00:00:0e:01",
        shelf.path / f"serial/half-{firmware}.log",
        firmware=firmware,
        disks=[HardDisk(half_disk.file)],
        memory=512,
    ) as machine:
        machine.wait_for_console("installation of half-01 on this disk is not finished", seconds=_GRUB_SECONDS)


@pytest.mark.parametrize("firmware", ["uefi", "secure"])
def test_a_machine_that_is_not_provisioned_starts_its_own_disk(firmware: str, half_disk: Disk) -> None:
    """UEFI tries the network first, and gets a boot loader that has nothing for it."""
    with stranger_network("tftp", lay_out_loaders) as network:
        mac = "52:54:00:00:0e:02"
        expect_own_disk_started(network, half_disk, firmware, mac=mac, name="stranger", seconds=_GRUB_SECONDS)


def lay_out_loaders(session: Session) -> None:
    """Put the boot loaders of UEFI where ``terra pxe`` does."""
    session.paths.tftp.mkdir(mode=0o755)
    shutil.copy("/usr/lib/shim/shimx64.efi.signed", session.paths.tftp / "shimx64.efi")
    shutil.copy("/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed", session.paths.tftp / "grubx64.efi")
