"""A provisioned machine with no disk, booted over the network by BIOS and by UEFI, and asked over ssh what it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.machine import Machine
from lab.network import CONTROLLER
from lab.site import Site
from terra_core.client.answers import HappeningShown
from terra_core.client.controller import ControllerClient
from terra_core.client.waiting import wait_until_booted
from terra_core.system.waiting import wait_until
from tests.vm.nodes import example

_BOOT_SECONDS = 600
_REPORT_SECONDS = 300
_OFF_SECONDS = 180
_SIZE, _LARGER, _DATA_SIZE = 4096, 6144, 512
_WORD = "site.test=changed"
_DATA = f"""
[[groups]]
  label = "data"
  [[groups.disk]]
    device = "/dev/sdb"
    size = {_DATA_SIZE}
  [[groups.subvolumes]]
    name = "srv"
    path = "/srv"
"""
_MACHINES = {"bios": "52:54:00:00:0b:01", "uefi": "52:54:00:00:0b:02"}


def write_example(node_toml: Path, site: Site, hostname: str, mac: str) -> None:
    """Write the node.toml of the examples, for a machine of a site."""
    image = f"{site.registry.address}/stellarproject/example:6"
    node_toml.write_text(example("node.toml", hostname=hostname, mac=mac, image=image))


@contextmanager
def booted(site: Site, lab_key: Path, mac: str, log: str, *, firmware: str = "bios") -> Iterator[tuple[Machine, str]]:
    """Switch a machine on, and wait until somebody can log in; yield it and its address.

    :param log: the name of its serial log.
    """
    with Machine(site.network, mac, site.directory / "serial" / f"{log}.log", firmware=firmware) as machine:
        address = machine.wait_for_address(site.leases, seconds=_BOOT_SECONDS)
        machine.wait_for_ssh(address, "terra", lab_key, seconds=_BOOT_SECONDS)
        yield machine, address


@pytest.mark.parametrize("firmware", list(_MACHINES))
def test_a_machine_without_a_disk_boots_its_image_over_the_network(
    firmware: str, site: Site, lab_key: Path, tmp_path: Path
) -> None:
    mac = _MACHINES[firmware]
    node_toml = tmp_path / "node.toml"
    write_example(node_toml, site, f"{firmware}-01", mac)
    node = json.loads(site.command(["provision", node_toml]).stdout)
    with booted(site, lab_key, mac, firmware, firmware=firmware) as (machine, address):
        expect_a_healthy_node(machine, node)
        expect_its_report(site, machine, address, node)
        assert machine.ssh("cat /run/terra/report", accept=(1,)).stdout == b"", "only root may read it"
    site.command(["delete", "--force", node["hostname"]])


@pytest.mark.long
def test_what_is_written_is_there_after_a_reboot(site: Site, lab_key: Path, tmp_path: Path) -> None:
    mac, node_toml = "52:54:00:00:0b:04", tmp_path / "node.toml"
    write_example(node_toml, site, "again-01", mac)
    node = json.loads(site.command(["provision", node_toml]).stdout)
    with booted(site, lab_key, mac, "again", firmware="uefi") as (machine, address):
        first = expect_its_report(site, machine, address, node)
        machine.ssh("echo written before the reboot > ~/note && sync")
        machine.reboot(seconds=_BOOT_SECONDS)
        assert machine.ssh("cat ~/note").text == "written before the reboot\n"
        expect_a_healthy_node(machine, node)
        second = expect_its_report(site, machine, address, node, after=first.number)
        assert second.data["boot_id"] != first.data["boot_id"]
    site.command(["delete", "--force", node["hostname"]])


@pytest.mark.long
def test_a_machine_that_was_changed_while_it_was_off_boots_so(site: Site, lab_key: Path, tmp_path: Path) -> None:
    mac, node_toml = "52:54:00:00:0b:03", tmp_path / "node.toml"
    write_example(node_toml, site, "changed-01", mac)
    site.command(["apply", node_toml])
    with booted(site, lab_key, mac, "changed") as (machine, address):
        start_changed(site, machine, node_toml)
        machine.wait_for_ssh(address, "terra", lab_key, seconds=_BOOT_SECONDS)
        expect_what_was_changed(machine)
    site.command(["delete", "--force", "changed-01"])


def start_changed(site: Site, machine: Machine, node_toml: Path) -> None:
    """Shut the machine down, change what can be changed in place, and switch it on again, until it says that it has booted."""
    former = machine.ssh("df --output=size --block-size=M / | tail -n 1; cat /proc/cmdline").text
    assert int(former.split("M")[0]) <= _SIZE
    assert _WORD not in former.split()
    machine.ssh("sudo systemctl poweroff", accept=(0, 255))
    wait_until(lambda: not machine.running, seconds=_OFF_SECONDS, what="the machine to be off", interval=1)
    text = node_toml.read_text().replace(f"size = {_SIZE}", f"size = {_LARGER}")
    node_toml.write_text(f'kernel_arguments = ["{_WORD}"]\n{text}{_DATA}')

    def applied() -> bool:
        said = site.command(["apply", node_toml], timeout=120, accept=(0, 1)).stderr.decode()
        assert "1 changed" in said or "is logged in to its disks" in said, said
        return "1 changed" in said

    wait_until(applied, seconds=_OFF_SECONDS, what="the machine to be logged out of its disks", interval=5)
    machine.reset()
    said = site.command(["apply", "--wait=booted", "--timeout", f"{_BOOT_SECONDS}s", node_toml], timeout=_BOOT_SECONDS + 60)
    assert "0 changed, 1 unchanged" in said.stderr.decode()
    assert "changed-01 has booted: it reports that it is running" in said.stderr.decode()


def expect_what_was_changed(machine: Machine) -> None:
    """Ask the machine for the words, the larger disk and the further group."""
    assert _WORD in machine.ssh("cat /proc/cmdline").text.split()
    assert int(machine.ssh("df --output=size --block-size=M / | tail -n 1").text.strip().rstrip("M")) > _SIZE
    data = _mount(machine, "/srv")
    assert data["fsroot"] == "/srv"
    assert str(data["source"]).partition("[")[0] != str(_mount(machine, "/")["source"]).partition("[")[0]
    size = int(machine.ssh("df --output=size --block-size=M /srv | tail -n 1").text.strip().rstrip("M"))
    assert 0 < size <= _DATA_SIZE
    machine.ssh("sudo sh -c 'echo kept > /srv/file && sync /srv/file && btrfs scrub start -B /srv >/dev/null'")


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
