"""Machines that load iPXE: one that is not provisioned, and one whose root is ext4 on a disk behind iSCSI."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lab.disks import Disk
from lab.hardware import HardDisk
from lab.images import build_base_images, offer
from lab.machine import Machine
from lab.network import CONTROLLER, Network
from lab.shelf import Shelf
from lab.site import LEASES, Site
from terra_core.config.controller import Paths
from terra_core.config.session import Session
from terra_core.config.values import Address
from terra_core.hookspecs import BootNetwork
from terra_ipxe import plugin as ipxe
from tests.vm.nodes import example

_BUILD = Path(__file__).parent.parent.parent / "build"
_BOOT_SECONDS = 600
_FIRMWARE_SECONDS = 480
"""UEFI has boot entries for IPv6 and for its own HTTP boot too, and waits a minute for each of them."""
_MACHINES = {"bios": "52:54:00:00:0b:71", "uefi": "52:54:00:00:0b:72"}
_CONFIG = f"""\
[plugins]
boot = "ipxe"

[docker]
  insecure = ["{CONTROLLER}:5000"]

[ipxe]
  dhcp = "server"
  range = ["{LEASES[0]}", "{LEASES[1]}"]

[iscsi]
  domain = "terra.example"
"""


@pytest.fixture
def stranger_network() -> Iterator[Network]:
    """Make a network whose boot service knows no machine."""
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


@pytest.fixture(scope="module")
def ipxe_site(tmp_path_factory: pytest.TempPathFactory, lab_key: Path) -> Iterator[Site]:
    """Start a site that boots its machines by iPXE, with a server's image that lets the test in."""
    images = build_base_images()
    server = tmp_path_factory.mktemp("ipxe") / "server.toml"
    public = lab_key.with_suffix(".pub").read_text().strip()
    server.write_text(f'{(Path(__file__).parent / "server.toml").read_text()}\n[ssh]\n  keys = ["{public}"]\n')
    with Site(_BUILD, label="ipxe", config=_CONFIG) as site:
        offer(images["terraos"], site.engine, site.registry.address, push=False)
        site.command(["create", "--push", server])
        yield site


@pytest.mark.parametrize("firmware", list(_MACHINES))
def test_a_machine_with_an_ext4_root_boots_by_ipxe(firmware: str, ipxe_site: Site, lab_key: Path, tmp_path: Path) -> None:
    mac = _MACHINES[firmware]
    node_toml = tmp_path / "node.toml"
    image = f"{ipxe_site.registry.address}/stellarproject/example:6"
    text = example("node.toml", hostname=f"{firmware}-ipxe", mac=mac, image=image)
    node_toml.write_text(f'{text}\n[plugins]\n  filesystem = "ext4"\n')
    node = json.loads(ipxe_site.command(["provision", node_toml]).stdout)
    with Machine(ipxe_site.network, mac, ipxe_site.directory / "serial" / f"ipxe-{firmware}.log", firmware=firmware) as machine:
        address = machine.wait_for_address(ipxe_site.leases, seconds=_BOOT_SECONDS)
        machine.wait_for_ssh(address, "terra", lab_key, seconds=_BOOT_SECONDS)
        assert machine.said(f"Terra: {firmware}-ipxe boots over the network")
        assert machine.ssh("hostname").text.strip() == node["hostname"]
        source, kind = machine.ssh("findmnt --noheadings --output SOURCE,FSTYPE /").text.split()
        assert kind == "ext4"
        assert machine.ssh(f"lsblk --noheadings --output TRAN {source}").text.split()[0] == "iscsi"
        assert machine.ssh("systemctl is-system-running --wait", accept=range(256), timeout=300).text.strip() == "running"
    ipxe_site.command(["delete", node["hostname"]])
