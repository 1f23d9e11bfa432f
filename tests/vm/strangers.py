"""Machines that nobody has provisioned, on a network whose boot service knows none."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.disks import Disk
from lab.hardware import HardDisk
from lab.machine import Machine
from lab.network import CONTROLLER, Network
from lab.shelf import Shelf
from lab.site import LEASES
from terra_core.config.controller import Paths
from terra_core.config.session import Session
from terra_core.config.values import Address
from terra_core.hookspecs import Boot, BootNetwork
from terra_core.plugins import Plugins
from terra_core.system.undo import Undo

_BUILD = Path(__file__).parent.parent.parent / "build"


@contextmanager
def stranger_network(plugin: str, prepare: Callable[[Session], object] = lambda _: None) -> Iterator[Network]:
    """Make a network whose boot service knows no machine.

    :param plugin: what fills the role ``boot``.
    :param prepare: puts what it needs where it looks for it.
    """
    with Undo() as undo:
        network = undo.enter_context(Network("stranger"))
        root = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="terra-stranger-")))
        root.chmod(0o755)
        session = Session(tables={plugin: {"dhcp": "server", "range": list(LEASES)}}, paths=Paths(root))
        boot = Plugins.discover().fill(Boot, {"boot": plugin}, source="test")
        prepare(session)
        with network.inside():
            undo.callback(boot.stop_boot, session)
            boot.start_boot(BootNetwork(address=Address(CONTROLLER)), [], session)
        yield network


def expect_own_disk_started(network: Network, disk: Disk, firmware: str, *, mac: str, name: str, seconds: float) -> None:
    """Switch on a machine that tries the network first, and wait until its own disk has been started.

    :param disk: what :func:`tests.vm.conftest.half_disk` gives.
    :param name: of the file of its serial console.
    :param seconds: how long to wait for each of the two.
    """
    with Shelf(_BUILD) as shelf, Machine(
        network,
        mac,
        shelf.path / f"serial/{name}-{firmware}.log",
        firmware=firmware,
        disks=[HardDisk(disk.file)],
        memory=512,
        network_first=True,
    ) as machine:
        machine.wait_for_console("Terra has no disk for this machine", seconds=seconds)
        machine.wait_for_console("installation of half-01 on this disk is not finished", seconds=seconds)
