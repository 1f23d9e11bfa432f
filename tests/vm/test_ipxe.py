"""Machines that load iPXE: one that is not provisioned, and one whose root is ext4 on a disk behind iSCSI."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.disks import Disk
from lab.machine import Machine
from lab.site import CONFIG, Site
from tests.vm.nodes import example
from tests.vm.strangers import expect_own_disk_started, stranger_network

_BOOT_SECONDS = 600
_FIRMWARE_SECONDS = 480
"""UEFI has boot entries for IPv6 and for its own HTTP boot too, and waits a minute for each of them."""
_MACHINES = {"bios": "52:54:00:00:0b:71", "uefi": "52:54:00:00:0b:72"}


@pytest.fixture(scope="module")
def site_config() -> str:
    """Return a controller.toml as other sites have, with another boot service and its table."""
    return '[plugins]\n  boot = "ipxe"\n\n' + CONFIG.replace("[tftp]", "[ipxe]")


@pytest.mark.parametrize("firmware", ["bios", pytest.param("uefi", marks=pytest.mark.long)])
def test_a_machine_that_is_not_provisioned_starts_its_own_disk(firmware: str, half_disk: Disk) -> None:
    with stranger_network("ipxe") as network:
        mac = "52:54:00:00:0b:73"
        expect_own_disk_started(network, half_disk, firmware, mac=mac, name="ipxe-stranger", seconds=_FIRMWARE_SECONDS)


@pytest.mark.parametrize("firmware", ["bios", pytest.param("uefi", marks=pytest.mark.long)])
def test_a_machine_with_an_ext4_root_boots_by_ipxe(firmware: str, site: Site, lab_key: Path, tmp_path: Path) -> None:
    mac = _MACHINES[firmware]
    node_toml = tmp_path / "node.toml"
    image = f"{site.registry.address}/stellarproject/example:6"
    text = example("node.toml", hostname=f"{firmware}-ipxe", mac=mac, image=image)
    node_toml.write_text(f'{text}\n[plugins]\n  filesystem = "ext4"\n')
    node = json.loads(site.command(["provision", node_toml]).stdout)
    with Machine(site.network, mac, site.directory / "serial" / f"ipxe-{firmware}.log", firmware=firmware) as machine:
        address = machine.wait_for_address(site.leases, seconds=_BOOT_SECONDS)
        machine.wait_for_ssh(address, "terra", lab_key, seconds=_BOOT_SECONDS)
        assert machine.said(f"Terra: {firmware}-ipxe boots over the network")
        assert machine.ssh("hostname").text.strip() == node["hostname"]
        source, kind = machine.ssh("findmnt --noheadings --output SOURCE,FSTYPE /").text.split()
        assert kind == "ext4"
        device, _, place = source.partition("[")
        assert place == "/os]"
        assert machine.ssh(f"lsblk --noheadings --output TRAN {device}").text.split()[0] == "iscsi"
        assert machine.ssh("systemctl is-system-running --wait", accept=range(256), timeout=300).text.strip() == "running"
    site.command(["delete", "--force", node["hostname"]])
