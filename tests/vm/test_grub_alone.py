"""A boot loader without its machine: what a disk says whose installation did not come to its end, and who starts it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.disks import Disk
from lab.hardware import HardDisk
from lab.machine import Machine
from lab.network import CONTROLLER, Network
from lab.shelf import Shelf
from terra_core.config.controller import Paths
from terra_core.config.session import Session
from terra_core.config.values import Address
from terra_core.hookspecs import Boot, BootNetwork
from terra_core.plugins import Plugins

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


@pytest.fixture
def stranger_network() -> Iterator[Network]:
    """Make a network whose boot service knows no machine."""
    with ExitStack() as stack:
        network = stack.enter_context(Network("stranger"))
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="terra-stranger-")))
        root.chmod(0o755)
        settings = {"dhcp": "server", "range": ["10.0.10.50", "10.0.10.99"]}
        session = Session(tables={"tftp": settings}, paths=Paths(root))
        boot = Plugins.discover().fill(Boot, {}, source="test")
        session.paths.tftp.mkdir(mode=0o755)
        shutil.copy("/usr/lib/shim/shimx64.efi.signed", session.paths.tftp / "shimx64.efi")
        shutil.copy("/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed", session.paths.tftp / "grubx64.efi")
        with network.inside():
            stack.callback(boot.stop_boot, session)
            boot.start_boot(BootNetwork(address=Address(CONTROLLER)), [], session)
        yield network


@pytest.mark.parametrize("firmware", ["uefi", "secure"])
def test_a_machine_that_is_not_provisioned_starts_its_own_disk(
    firmware: str, half_disk: Disk, stranger_network: Network
) -> None:
    """UEFI tries the network first, and gets a boot loader that has nothing for it."""
    with Shelf(_BUILD) as shelf, Machine(
        stranger_network,
        "52:54:00:00:0e:02",
        shelf.path / f"serial/stranger-{firmware}.log",
        firmware=firmware,
        disks=[HardDisk(half_disk.file)],
        memory=512,
        network_first=True,
    ) as machine:
        machine.wait_for_console("Terra has no disk for this machine", seconds=_GRUB_SECONDS)
        machine.wait_for_console("installation of half-01 on this disk is not finished", seconds=_GRUB_SECONDS)
