"""A machine that loads iPXE and is not provisioned: it starts its own disk."""

from __future__ import annotations

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
from lab.site import LEASES
from terra_core.config.controller import Paths
from terra_core.config.session import Session
from terra_core.config.values import Address
from terra_core.hookspecs import BootNetwork
from terra_ipxe import plugin as ipxe

_BUILD = Path(__file__).parent.parent.parent / "build"
_FIRMWARE_SECONDS = 480
"""UEFI has boot entries for IPv6 and for its own HTTP boot too, and waits a minute for each of them."""


@pytest.fixture
def stranger_network() -> Iterator[Network]:
    """A network whose boot service knows no machine."""
    with ExitStack() as stack:
        network = stack.enter_context(Network("stranger"))
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="terra-stranger-")))
        root.chmod(0o755)
        session = Session(tables={"ipxe": {"dhcp": "server", "range": list(LEASES)}}, paths=Paths(root))
        with network.inside():
            stack.callback(ipxe.stop_boot, session)
            ipxe.start_boot(BootNetwork(address=Address(CONTROLLER)), [], session)
        yield network


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_a_machine_that_is_not_provisioned_starts_its_own_disk(
    firmware: str, half_disk: Disk, stranger_network: Network
) -> None:
    with Shelf(_BUILD) as shelf, Machine(
        stranger_network,
        "52:54:00:00:0b:73",
        shelf.path / f"serial/ipxe-stranger-{firmware}.log",
        firmware=firmware,
        disks=[HardDisk(half_disk.file)],
        memory=512,
        network_first=True,
    ) as machine:
        machine.wait_for_console("Terra has no disk for this machine", seconds=_FIRMWARE_SECONDS)
        machine.wait_for_console("installation of half-01 on this disk is not finished", seconds=_FIRMWARE_SECONDS)
