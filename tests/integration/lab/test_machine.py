"""Machines of the lab ask for an address and for what to boot."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from iso.daemons import start
from lab.hardware import HardDisk
from lab.leases import leased_address
from lab.machine import Machine
from lab.network import Network
from terra_core.errors import TerraError
from terra_core.system.process import Daemon

MAC = "52:54:00:12:34:56"
LOADER = {"bios": "pxelinux.0", "uefi": "shimx64.efi"}

# A boot sector: write the text behind the code to the first serial port, then reset the machine by port 0xcf9.
_RESTARTS = bytes.fromhex("31c08ed8be1b7cbaf803ac84c07403eeebf8baf90cb006eef4ebfd") + b"started from its disk\r\n\0"


@pytest.fixture
def boot_server(network: Network, tmp_path: Path) -> Iterator[Daemon]:
    """Start a dnsmasq that leases addresses and names a boot loader that it does not have."""
    (tmp_path / "tftp").mkdir()
    args = [
        *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--log-facility=-", "--port=0", "--user=root"),
        *("--interface=br0", "--bind-dynamic", "--no-ping", "--dhcp-range=10.0.10.100,10.0.10.199,1h"),
        *(f"--dhcp-leasefile={tmp_path / 'leases'}", "--enable-tftp", f"--tftp-root={tmp_path / 'tftp'}"),
        *("--dhcp-match=set:uefi,option:client-arch,7", f"--dhcp-boot=tag:uefi,{LOADER['uefi']}"),
        f"--dhcp-boot=tag:!uefi,{LOADER['bios']}",
    ]
    daemon = start(network.command(args), log=tmp_path / "dnsmasq.log")
    try:
        yield daemon
    finally:
        daemon.stop()


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_it_boots_from_the_network(network: Network, boot_server: Daemon, tmp_path: Path, firmware: str) -> None:
    with Machine(network, MAC, tmp_path / "serial.log", firmware=firmware) as machine:
        machine.wait_for_console(LOADER[firmware], seconds=60)
        address = leased_address(tmp_path / "leases", MAC)
        assert address is not None
        assert address in machine.console()
        machine.reset()
        assert machine.running
    assert not machine.running
    assert f"sent {tmp_path}" not in boot_server.log.read_text()


def test_an_error_shows_the_console(network: Network, tmp_path: Path) -> None:
    with Machine(network, MAC, tmp_path / "serial.log") as machine:
        machine.wait_for_console("iPXE", seconds=30)
        with pytest.raises(TerraError, match=r"terra@10\.0\.10\.9 to accept a login(.|\n)*iPXE"):
            machine.wait_for_ssh("10.0.10.9", "terra", tmp_path / "key", seconds=1)


def test_a_machine_that_ends_is_noticed_at_once(network: Network, tmp_path: Path) -> None:
    (tmp_path / "serial.log").write_text("login: of an earlier machine\n")
    with Machine(network, MAC, tmp_path / "serial.log", memory=256) as machine:
        machine.stop()
        with pytest.raises(TerraError, match="the machine ended while waiting for 'login:' on the console"):
            machine.wait_for_console("login:", seconds=600)


def test_a_machine_that_asks_to_start_again_does_so(network: Network, tmp_path: Path) -> None:
    disk = tmp_path / "disk.img"
    disk.write_bytes(_RESTARTS.ljust(510, b"\0") + b"\x55\xaa" + bytes(1024 * 1024))
    with Machine(network, MAC, tmp_path / "serial.log", memory=256, disks=[HardDisk(disk)]) as machine:
        machine.wait_for_match(r"(?:started from its disk(?:.|\n)*){3}", seconds=60)
        assert machine.running
