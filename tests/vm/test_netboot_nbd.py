"""A machine without a disk whose disks are nbdkit's: it boots, waits while nobody serves them, and starts again."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Collection
from pathlib import Path
from threading import Event

import pytest

from lab.machine import Machine
from lab.site import CONFIG_OF_NETWORK, Site
from terra_core.system.process import run
from terra_core.system.reading import lines_of
from terra_core.system.waiting import wait_until
from tests.vm.nodes import example

_BOOT_SECONDS = 600
_MAC = "52:54:00:00:0e:01"
_OUTAGE_SECONDS = 60
_WRITTEN = {"root": "/home/terra/written", "data": "/data/written"}
"""A file that is written to in each file system, by a word for it."""
_WRITER = """\
number=0
while [ ! -e /dev/shm/enough ]; do
	number=$((number + 1))
	printf '%4095d\\n' $number > /dev/shm/$1.block
	read -r before _ < /proc/uptime
	dd if=/dev/shm/$1.block of=$2 bs=4096 seek=$((number - 1)) oflag=direct conv=notrunc,fsync status=none
	code=$?
	read -r after _ < /proc/uptime
	echo $code $before $after >> /dev/shm/$1.log
	sleep 0.5
done
echo ended > /dev/shm/$1.end
"""
"""Writes block after block past the page cache, each of them synced, and keeps in memory when each began and was done."""
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
    return f'[plugins]\n  storage = "nbd"\n  filesystem = "ext4"\n\n{CONFIG_OF_NETWORK}'


@pytest.mark.long
def test_a_machine_without_a_disk_boots_from_nbd_and_outlasts_an_outage(site: Site, lab_key: Path, tmp_path: Path) -> None:
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
        written = outlast_an_outage(site, machine)
        expect_whole(machine)

        machine.reboot(seconds=_BOOT_SECONDS)
        expect_whole(machine)
        assert machine.said(r": clean, \d+/\d+ files"), "e2fsck said nothing of a root that was left in order"
        for fault in ("recovering journal", "I/O error, dev nbd"):
            assert machine.said(fault) is None, "the disks were gone before the last write"
        for name, path in _WRITTEN.items():
            assert machine.ssh(f"cat {path}").text.split() == [str(number) for number in range(1, written[name] + 1)]
        assert connections(site) == 3, "those of the machine's first start are still there"
    site.command(["delete", "--force", "nbd-01"])
    assert servers(site) == []


def outlast_an_outage(site: Site, machine: Machine) -> dict[str, int]:
    """Take the machine's servers and the controller away for a while, while it writes to each of its file systems.

    :returns: how many blocks it has written to each.
    """
    machine.ssh(f"cat > /dev/shm/writer << 'END'\n{_WRITER}END")
    for name, path in _WRITTEN.items():
        machine.ssh(f"sudo setsid --fork sh /dev/shm/writer {name} {path} < /dev/null > /dev/null 2>&1")
    wait_until(lambda: all(len(writes(machine, name)) > 2 for name in _WRITTEN), seconds=60, what="the machine to write")

    site.stop_controller()  # which would bring the servers back
    serving = servers(site)
    assert len(serving) == 2, "the machine has two groups"
    for process in serving:
        os.kill(process, signal.SIGKILL)
    Event().wait(_OUTAGE_SECONDS + 5)
    assert servers(site) == [], "somebody has brought them back"
    site.start_controller()
    wait_until(lambda: len(servers(site)) == 2, seconds=60, what="the servers to be back")

    wait_until(lambda: shortest_stop(machine) > _OUTAGE_SECONDS / 2, seconds=240, what="the machine to go on")
    assert shortest_stop(machine) >= _OUTAGE_SECONDS
    machine.ssh("touch /dev/shm/enough")
    ends = "cat /dev/shm/*.end"
    wait_until(lambda: machine.ssh(ends, accept=(0, 1)).text.split() == ["ended"] * 2, seconds=60, what="all to be written")
    assert {code for name in _WRITTEN for code, _ in writes(machine, name)} == {0}
    assert machine.ssh("sudo dmesg | grep -i 'i/o error'", accept=(1,)).text == ""
    return {name: len(writes(machine, name)) for name in _WRITTEN}


def writes(machine: Machine, name: str, accept: Collection[int] = (0, 1)) -> list[tuple[int, float]]:
    """Return for each write the exit code of dd(1), and how long it took, in seconds."""
    log = machine.ssh(f"cat /dev/shm/{name}.log", accept=accept).text
    rows = [line.split() for line in lines_of(log)]
    return [(int(code), float(after) - float(before)) for code, before, after in rows]


def shortest_stop(machine: Machine) -> float:
    """Return how long the longest write to each of the file systems took, and the least of these, in seconds."""
    # A login writes, too, and waits for the disks longer than ssh(1) does for it.
    return min(max((took for _, took in writes(machine, name, (0, 1, 255))), default=0.0) for name in _WRITTEN)


def expect_whole(machine: Machine) -> None:
    """Ask the machine whether all of it came up, from the disks that it was given."""
    state = machine.ssh("systemctl is-system-running --wait", accept=range(256), timeout=300).text.strip()
    faults = "systemctl --failed --no-legend; sudo journalctl -b -p warning --no-pager | tail -n 40"
    assert state == "running", machine.ssh(faults).text
    assert mount_of(machine, "/") == ("/dev/nbd0", "ext4", "rw")
    assert mount_of(machine, "/data") in [("/dev/nbd1", "btrfs", "rw"), ("/dev/nbd2", "btrfs", "rw")]
    assert machine.ssh("cat /home/terra/from-image/file").text == "kept\n"


def mount_of(machine: Machine, path: str) -> tuple[str, str, str]:
    """Return what is mounted at a path: its device, its type, and ``rw`` or ``ro``."""
    answer = machine.ssh(f"findmnt --json --output SOURCE,FSTYPE,OPTIONS --mountpoint {path}")
    (found,) = json.loads(answer.stdout)["filesystems"]
    return str(found["source"]).partition("[")[0], str(found["fstype"]), str(found["options"]).partition(",")[0]


def spared(machine: Machine) -> list[str]:
    """Return what systemd leaves alone when it shuts down: its oom_score_adj (proc(5)) and its command line."""
    each = "echo $(cat ${file%cmdline}oom_score_adj) $(tr '\\0' ' ' < $file)"
    return machine.ssh(f"for file in $(grep -l '^@' /proc/[0-9]*/cmdline); do {each}; done", accept=range(3)).text.splitlines()


def servers(site: Site) -> list[int]:
    """Return the processes that serve the disks of the site's machines."""
    return sorted(process.pid for process in site.network.processes() if process.name == "nbdkit")


def connections(site: Site) -> int:
    """Return how many connections the servers have."""
    ports = "( sport >= :20000 and sport <= :29999 )"
    return len(lines_of(run(site.network.command(["ss", "-H", "-t", "-n", "state", "established", ports])).text))
