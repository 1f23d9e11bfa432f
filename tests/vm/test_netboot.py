"""A provisioned machine with no disk, booted over the network by BIOS and by UEFI, and asked over ssh what it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.machine import Machine
from lab.network import CONTROLLER
from lab.site import Site
from terra_core.client.answers import HappeningShown
from terra_core.client.controller import ControllerClient
from terra_core.client.waiting import wait_until_booted
from tests.vm.nodes import example

_BOOT_SECONDS = 600
_REPORT_SECONDS = 300
_MACHINES = {"bios": "52:54:00:00:0b:01", "uefi": "52:54:00:00:0b:02"}


@pytest.mark.parametrize("firmware", list(_MACHINES))
def test_a_machine_without_a_disk_boots_its_image_over_the_network(
    firmware: str, site: Site, lab_key: Path, tmp_path: Path
) -> None:
    mac = _MACHINES[firmware]
    node_toml = tmp_path / "node.toml"
    image = f"{site.registry.address}/stellarproject/example:6"
    node_toml.write_text(example("node.toml", hostname=f"{firmware}-01", mac=mac, image=image))
    node = json.loads(site.command(["provision", node_toml]).stdout)
    with Machine(site.network, mac, site.directory / "serial" / f"{firmware}.log", firmware=firmware) as machine:
        address = machine.wait_for_address(site.leases, seconds=_BOOT_SECONDS)
        machine.wait_for_ssh(address, "terra", lab_key, seconds=_BOOT_SECONDS)
        expect_a_healthy_node(machine, node)
        first = expect_its_report(site, machine, address, node)
        machine.ssh("echo written before the reboot > ~/note && sync")
        machine.reboot(seconds=_BOOT_SECONDS)
        assert machine.ssh("cat ~/note").text == "written before the reboot\n"
        expect_a_healthy_node(machine, node)
        second = expect_its_report(site, machine, address, node, after=first.number)
        assert second.data["boot_id"] != first.data["boot_id"]
        assert machine.ssh("cat /run/terra/report", accept=(1,)).stdout == b"", "only root may read it"
    site.command(["delete", "--force", node["hostname"]])


def expect_a_healthy_node(machine: Machine, node: dict[str, object]) -> None:
    """Ask the machine about all that its node.toml and its server.toml say."""
    assert machine.ssh("systemctl is-system-running --wait", accept=range(256), timeout=300).text.strip() == "running", (
        machine.ssh("systemctl --failed --no-legend; sudo journalctl -b -p warning --no-pager | tail -n 40").text
    )
    assert machine.ssh("hostname").text.strip() == node["hostname"]
    root = _mount(machine, "/")
    assert root["fsroot"] == "/os"
    disk = str(root["source"]).partition("[")[0]
    assert machine.ssh(f"lsblk --noheadings --output TRAN {disk}").text.strip() == "iscsi"
    for name, path in (("home", "/home"), ("log", "/var/log"), ("containerd", "/var/lib/containerd")):
        mount = _mount(machine, path)
        assert mount["fsroot"] == f"/{name}"
        assert str(mount["source"]).partition("[")[0] == disk
    assert machine.ssh("cat /home/terra/from-image/file").text == "kept\n"
    assert "eth0" in machine.ssh("sudo cat /etc/netplan/*.yaml").text
    assert "nameserver 10.0.10.1" in machine.ssh("cat /etc/resolv.conf").text
    assert machine.ssh("cat /proc/sys/kernel/hostname").text.strip() == node["hostname"]
    assert str(node["hostname"]) in machine.ssh("getent hosts 127.0.1.1").text
    assert len(machine.ssh("cat /etc/machine-id").text.strip()) == 32


def expect_its_report(
    site: Site, machine: Machine, address: str, node: dict[str, object], *, after: int = 0
) -> HappeningShown:
    """Wait until the machine says itself that it has booted, and compare that with what it says over ssh."""
    with site.network.inside():
        client = ControllerClient(CONTROLLER, token=site.environment()["TERRA_TOKEN"])
        said = wait_until_booted(client, str(node["hostname"]), seconds=_REPORT_SECONDS, after=after)
    assert said.data["boot_id"] == machine.ssh("cat /proc/sys/kernel/random/boot_id").text.strip()
    assert said.data["kernel"] == machine.ssh("uname -r").text.strip()
    assert (said.data["state"], said.data["failed"]) == ("running", [])
    assert address in said.data["addresses"]
    assert said.data["image"].startswith("sha256:")
    assert "knows that this machine is running" in machine.ssh("sudo journalctl -b -u terra-report --no-pager").text
    return said


def _mount(machine: Machine, path: str) -> dict[str, object]:
    answer = machine.ssh(f"findmnt --json --output TARGET,SOURCE,FSTYPE,FSROOT --mountpoint {path}")
    (found,) = json.loads(answer.stdout)["filesystems"]
    assert found["fstype"] == "btrfs"
    return dict(found)
