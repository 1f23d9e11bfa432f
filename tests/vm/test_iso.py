"""terra.iso itself, started by BIOS and by UEFI, as a CD and as a USB stick; and a machine that it installs by itself."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from iso.daemons import start, wait_ready
from iso.medium import LIMIT, make
from lab.disks import sparse
from lab.hardware import Bus, Drive, HardDisk, Medium
from lab.network import CONTROLLER, GATEWAY
from lab.site import Site
from terra_core.system.process import Completed, run
from tests.vm.live import BOOT_SECONDS, MEMORY, address_of, let_in, say, started
from tests.vm.nodes import example

pytestmark = pytest.mark.long

_INSTALL_SECONDS = 2400
_PORT = 8099
_PASSWORD = r"with the password ([a-z0-9]{4}-[a-z0-9]{4}-[a-z0-9]{4})"


@pytest.mark.parametrize(("firmware", "drive", "number"), [("bios", Drive.CD, 1), ("uefi", Drive.USB, 2)])
def test_a_key_of_the_kernel_line_lets_in(
    firmware: str, drive: Drive, number: int, site: Site, keyed: Path, lab_key: Path
) -> None:
    assert keyed.stat().st_size < LIMIT
    with started(site, number, firmware, Medium(image=keyed, drive=drive)) as machine:
        began = time.monotonic()
        machine.wait_for_ssh(address_of(machine), "terra", lab_key, seconds=BOOT_SECONDS)
        say(f"{firmware} from {drive}: {time.monotonic() - began:.0f} s to a login")
        assert "Next: sudo terra-install" in machine.console(200)
        assert machine.said(_PASSWORD) is None
        state = machine.ssh("systemctl is-system-running --wait", accept=range(256), timeout=300).text.strip()
        assert state == "running", machine.ssh("systemctl --failed --no-legend; sudo journalctl -b -p warning --no-pager").text
        assert machine.ssh("findmnt --noheadings --output FSTYPE /").text.strip() == "overlay"
        assert machine.ssh("test -d /sys/firmware/efi && echo uefi || echo bios").text.strip() == firmware
        plugins = json.loads(machine.ssh("terra plugins --json").stdout)
        assert {"btrfs", "docker", "grub"} <= {plugin["name"] for plugin in plugins}
        assert "--gateway" in machine.ssh("terra-install --help").text
        assert "LOCKED" in machine.ssh("sudo passwd --status terra | sed 's/ L / LOCKED /'").text
        assert machine.ssh("sudo grep -c . /etc/ssh/ssh_host_ed25519_key.pub").text.strip() == "1"
        free = int(machine.ssh("grep MemAvailable /proc/meminfo | tr -dc 0-9").text) // 1024
        say(f"{firmware} from {drive}: {free} of {MEMORY} MB free")
        assert free > MEMORY // 3


def test_without_a_key_every_start_has_a_password_of_its_own(site: Site, plain: Path, tmp_path: Path) -> None:
    passwords = []
    for firmware, drive, number in (("uefi", Drive.CD, 3), ("bios", Drive.USB, 4)):
        with started(site, number, firmware, Medium(image=plain, drive=drive)) as machine:
            address = address_of(machine)
            found = machine.said(_PASSWORD)
            assert found, machine.console()
            passwords.append(found[1])
            assert log_in(site, address, found[1], tmp_path).text == "terra\n"
            assert log_in(site, address, "terra", tmp_path, accept=255).text == ""
    assert passwords[0] != passwords[1]


def log_in(site: Site, address: str, password: str, tmp_path: Path, accept: int = 0) -> Completed:
    """Log in by ssh with a password."""
    asked = tmp_path / "askpass"
    asked.write_text(f"#!/bin/sh\necho '{password}'\n")
    asked.chmod(0o700)
    options = ["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
    options += ["-o", "PreferredAuthentications=password", "-o", "NumberOfPasswordPrompts=1"]
    environment = {"SSH_ASKPASS": str(asked), "SSH_ASKPASS_REQUIRE": "force"}
    command = site.network.command(["ssh", *options, f"terra@{address}", "whoami"])
    return run(command, env=environment, accept=(accept,), timeout=180)


def test_a_machine_is_installed_by_itself(site: Site, media: Path, lab_key: Path, tmp_path: Path) -> None:
    served = tmp_path / "served"
    served.mkdir()
    image = f"{site.registry.address}/stellarproject/example:6"
    (served / "node.toml").write_text(example("simple-node.toml", hostname="alone-01", image=image))
    url = f"http://{CONTROLLER}:{_PORT}/node.toml"
    words = [f"terra.install={url}", f"terra.gateway={GATEWAY}", "terra.http"]
    medium = Medium(image=make(media / "alone.iso", words, say=say))
    disk = sparse(tmp_path / "disk.img", 4096)
    command = [sys.executable, "-m", "http.server", str(_PORT), "--bind", CONTROLLER, "--directory", str(served)]
    server = start(site.network.command(command), log=tmp_path / "server.log", env={"PATH": os.environ["PATH"]})
    try:
        wait_ready(server, lambda: _listens(site), seconds=30, what="the node.toml to be served")
        with started(site, 5, "uefi", medium, [HardDisk(disk, Bus.SATA)], memory=2048) as machine:
            machine.wait_for_console("Terra installs by itself", seconds=BOOT_SECONDS)
            machine.wait_for_console("Installed. The machine starts again", seconds=_INSTALL_SECONDS)
            let_in(machine, site, "alone-01", lab_key)
            assert machine.ssh("hostname").text.strip() == "alone-01"
            assert machine.ssh("findmnt --noheadings --output FSTYPE,FSROOT /").text.split() == ["btrfs", "/os"]
    finally:
        server.stop()


def _listens(site: Site) -> bool:
    with site.network.connect(CONTROLLER, _PORT, timeout=2):
        return True


def test_an_installation_that_fails_stays_and_says_why(site: Site, media: Path) -> None:
    words = [f"terra.install=http://{CONTROLLER}:1/node.toml"]
    medium = Medium(image=make(media / "failing.iso", words, say=say))
    with started(site, 6, "bios", medium) as machine:
        machine.wait_for_console("The installation failed:", seconds=BOOT_SECONDS)
        machine.wait_for_console("Nothing more happens by itself", seconds=60)
