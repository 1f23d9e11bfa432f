"""Machines that terra-install has laid down on their own disks, booted by BIOS and by UEFI, whole and with a disk missing."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.disks import attached, sparse
from lab.hardware import HardDisk
from lab.machine import Machine
from lab.network import GATEWAY
from lab.site import Site
from terra_core.system.process import run
from tests.vm.nodes import expect_healthy, group, profiles

_BOOT_SECONDS = 600
_INSTALL_SECONDS = 900
_OVERHEAD_SECONDS = 5.0
_ELSEWHERE = ("wait", "pull", "format", "apply", "record")
"""The steps whose time is that of the tools, of the registry and of the disks: the last one reads every file once more."""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of the disks."""
    return tmp_path_factory.mktemp("disks")


def test_the_simple_node_by_uefi(
    site: Site, lab_key: Path, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disks = [sparse(directory / "simple.img", 4096)]
    install(site, capsys, directory, "terra-01", disks, group("os", "single", 1, boot=""))
    with booted(site, lab_key, "52:54:00:00:0c:01", "uefi", disks) as machine:
        expect_healthy(machine, "terra-01", {"/": "/os"})
        assert machine.ssh("test -d /sys/firmware/efi && echo uefi").text == "uefi\n"
        assert GATEWAY in machine.ssh("cat /etc/resolv.conf").text
        first = machine.ssh("cat /etc/machine-id; cat /etc/ssh/ssh_host_ed25519_key.pub").text
        assert len(first.split()[0]) == 32
        # Another version of the system beside the first one, as an upgrade would make it.
        machine.ssh("sudo mkdir /run/top && sudo mount -o subvolid=5 LABEL=os /run/top")
        machine.ssh("sudo btrfs subvolume snapshot /run/top/os /run/top/os-2")
        machine.ssh("sudo sed -i 's/^set default=.*/set default=os-2/' /boot/grub/grub.cfg && sync")
        machine.reboot(seconds=_BOOT_SECONDS)
        expect_healthy(machine, "terra-01", {"/": "/os-2"}, version="os-2")
        assert machine.ssh("cat /etc/machine-id; cat /etc/ssh/ssh_host_ed25519_key.pub").text == first


@pytest.mark.long
def test_a_disk_of_large_sectors_by_uefi_beside_a_former_one(
    site: Site, lab_key: Path, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    former, new = (sparse(directory / f"{name}.img", 4096) for name in ("former", "new"))
    for name, disk in (("former", former), ("new", new)):
        groups = group("os", "single", 1, boot="uefi", home="/home")
        install(site, capsys, directory, f"{name}-01", [disk], groups, sector_size=4096)
    with booted(site, lab_key, "52:54:00:00:0c:03", "uefi", [new, former], 4096) as machine:
        expect_healthy(machine, "new-01", {"/": "/os", "/home": "/home"})
        sources = machine.ssh("findmnt --noheadings --output SOURCE / /home; findmnt --noheadings --output SOURCE /home").text
        assert len({line.partition("[")[0] for line in sources.split()}) == 1, "both from the new disk"


@pytest.mark.long
def test_the_complex_node_by_bios(
    site: Site, lab_key: Path, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disks = [sparse(directory / f"complex-{at}.img", size) for at, size in enumerate((4096, 512, 512, 512, 512))]
    system = group("os", "single", 1, home="/home", log="/var/log", containerd="/var/lib/containerd")
    storage = group("storage", "raid10", 4, luns="/iscsi", tftp="/tftp")
    install(site, capsys, directory, "mt-01", disks, system, storage)
    with booted(site, lab_key, "52:54:00:00:0c:02", "bios", disks) as machine:
        mounts = {"/": "/os", "/home": "/home", "/var/log": "/log", "/var/lib/containerd": "/containerd"}
        expect_healthy(machine, "mt-01", {**mounts, "/iscsi": "/luns", "/tftp": "/tftp"})
        assert profiles(machine, "/iscsi") == {"Data": "raid10", "Metadata": "raid10", "System": "raid10"}
        assert machine.ssh("cat /home/terra/from-image/file").text == "kept\n"


@pytest.mark.long
def test_each_disk_of_a_mirror_boots_alone(
    site: Site, lab_key: Path, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    disks = [sparse(directory / f"mirror-{at}.img", 4096) for at in range(2)]
    install(site, capsys, directory, "pair-01", disks, group("os", "raid1", 2, home="/home", compression="zstd:3"))
    for firmware, at in (("bios", 0), ("uefi", 1)):
        copy = directory / f"alone-{at}.img"
        run(["cp", "--sparse=always", disks[at], copy], timeout=600)
        with booted(site, lab_key, f"52:54:00:00:0c:1{at}", firmware, [copy]) as machine:
            expect_healthy(machine, "pair-01", {"/": "/os", "/home": "/home"}, missing=True)
            machine.ssh("echo written without the other disk > ~/note && sync")
        copy.unlink()


def install(
    site: Site,
    capsys: pytest.CaptureFixture[str],
    directory: Path,
    hostname: str,
    disks: Sequence[Path],
    *groups: str,
    sector_size: int = 512,
    image: str = "stellarproject/example:6",
    most: float = _OVERHEAD_SECONDS,
) -> None:
    """Install a machine on disk images, and print what each step took.

    :param groups: the tables of its node.toml.
    :param image: its image in the site's registry.
    :param most: what Terra's own work may take, in seconds.
    """
    with attached(disks, sector_size) as there:
        text = f'hostname = "{hostname}"\nimage = "{site.registry.address}/{image}"\n' + "".join(groups)
        for disk in there:
            text = text.replace("DISK", f'"{disk.device}"', 1)
        node = directory / f"{hostname}.toml"
        node.write_text(text)
        installer = Path(sys.executable).parent / "terra-install"
        command: list[str | Path] = [installer, "--http", "--json", "--gateway", GATEWAY, node]
        lines = run(site.network.command(command), timeout=_INSTALL_SECONDS).text.splitlines()
    done = json.loads(lines[-1])
    with capsys.disabled():
        print(f"\n{hostname}: {done['seconds']:.1f} s: {done['steps']}")  # noqa: T201  # asked for: what each step took
    assert done["step"] == "done"
    own = sum(seconds for step, seconds in done["steps"].items() if step not in (*_ELSEWHERE, "sync", "ready"))
    assert own < most, done["steps"]


@contextmanager
def booted(
    site: Site,
    key: Path,
    mac: str,
    firmware: str,
    disks: Sequence[Path],
    sector_size: int = 512,
    seconds: float = _BOOT_SECONDS,
) -> Iterator[Machine]:
    """Start a machine with these disks, and wait until somebody can log in to it.

    :param seconds: how long to wait for each of address and login.
    """
    serial = site.directory / "serial" / f"install-{mac.replace(':', '')[-4:]}-{firmware}.log"
    plugged = [HardDisk(disk, sector_size=sector_size) for disk in disks]
    with Machine(site.network, mac, serial, firmware=firmware, disks=plugged) as machine:
        address = machine.wait_for_address(site.leases, seconds=seconds)
        machine.wait_for_ssh(address, "terra", key, seconds=seconds)
        yield machine
