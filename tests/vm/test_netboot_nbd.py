"""A machine without a disk whose disks are nbdkit's: it boots, and starts again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.machine import Machine
from lab.network import CONTROLLER
from lab.site import LEASES, Site
from tests.vm.nodes import example

_BOOT_SECONDS = 600
_MAC = "52:54:00:00:0e:01"
_DATA = """
[[groups]]
  label = "data"
  type = "single"
  stage = "stage1"
  filesystem = "btrfs"

  [[groups.disk]]
    device = "/dev/sdb"
    size = 256

  [[groups.disk]]
    device = "/dev/sdc"
    size = 256

  [[groups.subvolumes]]
    name = "data"
    path = "/data"
"""


@pytest.fixture(scope="module")
def site_config() -> str:
    return f"""\
[plugins]
  storage = "nbd"
  filesystem = "ext4"

[docker]
  insecure = ["{CONTROLLER}:5000"]

[tftp]
  dhcp = "server"
  range = ["{LEASES[0]}", "{LEASES[1]}"]
"""


@pytest.mark.long
def test_a_machine_without_a_disk_boots_from_nbd(site: Site, lab_key: Path, tmp_path: Path) -> None:
    node_toml = tmp_path / "node.toml"
    image = f"{site.registry.address}/stellarproject/example:6"
    node_toml.write_text(example("node.toml", hostname="nbd-01", mac=_MAC, image=image) + _DATA)
    site.command(["provision", node_toml])
    with Machine(site.network, _MAC, site.directory / "serial" / "nbd.log") as machine:
        address = machine.wait_for_address(site.leases, seconds=_BOOT_SECONDS)
        machine.wait_for_ssh(address, "terra", lab_key, seconds=_BOOT_SECONDS)
        expect_whole(machine)
        lines = spared(machine)
        assert len(lines) == 3, lines
        for line in lines:
            assert "/own/qemu-nbd " in line, "the system would end it before its disks, and could not be shut down"
            assert line.startswith("-1000 "), "it would be ended first where memory is short"
        machine.ssh("echo before > ~/note && sync")

        machine.reboot(seconds=_BOOT_SECONDS)
        expect_whole(machine)
        assert machine.ssh("cat ~/note").text == "before\n"
    site.command(["delete", "nbd-01"])
    assert servers(site) == []


def expect_whole(machine: Machine) -> None:
    """Ask the machine whether all of it came up, from the disks that it was given."""
    state = machine.ssh("systemctl is-system-running --wait", accept=range(256), timeout=300).text.strip()
    faults = "systemctl --failed --no-legend; sudo journalctl -b -p warning --no-pager | tail -n 40"
    assert state == "running", machine.ssh(faults).text
    assert mount_of(machine, "/") == ("/dev/nbd0", "ext4")
    assert mount_of(machine, "/data") in [("/dev/nbd1", "btrfs"), ("/dev/nbd2", "btrfs")]
    assert machine.ssh("cat /home/terra/from-image/file").text == "kept\n"


def mount_of(machine: Machine, path: str) -> tuple[str, str]:
    (found,) = json.loads(machine.ssh(f"findmnt --json --output SOURCE,FSTYPE --mountpoint {path}").stdout)["filesystems"]
    return str(found["source"]).partition("[")[0], str(found["fstype"])


def spared(machine: Machine) -> list[str]:
    """Return what systemd leaves alone when it shuts down: its oom_score_adj (proc(5)) and its command line."""
    each = "echo $(cat ${file%cmdline}oom_score_adj) $(tr '\\0' ' ' < $file)"
    return machine.ssh(f"for file in $(grep -l '^@' /proc/[0-9]*/cmdline); do {each}; done", accept=range(3)).text.splitlines()


def servers(site: Site) -> list[int]:
    """Return the processes that serve the disks of the site's machines."""
    return sorted(process.pid for process in site.network.processes() if process.name == "nbdkit")
