"""Versions on trial, one after the other on one machine: the good one stays, and every other one is left without a person."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from lab.disks import sparse
from lab.machine import Machine
from lab.site import Site
from tests.vm.live import say
from tests.vm.nodes import expect_healthy
from tests.vm.test_install import booted
from tests.vm.upgrades import BOOT_SECONDS, Builds, comes_up, make, restart, terra, versions

pytestmark = pytest.mark.long

_CHECK = "/usr/local/bin/check"
_UPGRADE = f'check = ["{_CHECK}"]\ntimeout = "10m"\nversions = 3\n'
_HEALTHY = (
    f"printf '#!/bin/sh\\ntest ! -e /etc/broken || {{ echo the application is broken; exit 1; }}\\n' > {_CHECK}",
    f"chmod 755 {_CHECK}",
)
_EARLY = "/etc/systemd/system/early.service"
_WANTS = "/etc/systemd/system/sysinit.target.wants"


@frozen
class Fault:
    """What is wrong with an image.

    :param steps: the shell commands that make it so.
    :param reason: what ``terra versions`` says of it then, as a regular expression.
    """

    steps: tuple[str, ...]
    reason: str


_PANIC = (
    "printf 'echo c > /proc/sysrq-trigger\\n' > /usr/local/sbin/early",
    f"printf '[Unit]\\nDefaultDependencies=no\\n[Service]\\nExecStart=/bin/sh /usr/local/sbin/early\\n' > {_EARLY}",
    f"mkdir -p {_WANTS}",
    f"ln -s ../early.service {_WANTS}",
)
_HANG = ("rm /sbin/init", "printf '#!/bin/sh\\nwhile :; do sleep 60; done\\n' > /sbin/init", "chmod 755 /sbin/init")
FAULTS = {
    "its check fails": Fault(("touch /etc/broken",), "the application is broken"),
    "its kernel panics": Fault(_PANIC, "did not come up"),
    "its init hangs": Fault(_HANG, "did not come up"),
    "its network is broken": Fault(("rm /etc/netplan/*",), "route|address"),
}


@pytest.fixture(scope="module")
def builds(site: Site, lab_key: Path, tmp_path_factory: pytest.TempPathFactory) -> Builds:
    """Return what pushes images that are the next version of each other."""
    return Builds(site, lab_key, tmp_path_factory.mktemp("builds"))


def test_what_is_not_healthy_is_left_and_what_is_stays(
    site: Site, lab_key: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], builds: Builds
) -> None:
    disks = [sparse(tmp_path / "tried.img", 8192)]
    make(site, capsys, tmp_path, "tried-01", disks, builds.push(1, *_HEALTHY), _UPGRADE)
    with booted(site, lab_key, "52:54:00:00:0e:11", "bios", disks, seconds=BOOT_SECONDS) as machine:
        kept = upgrade(machine, builds.push(2, *_HEALTHY))
        comes_up(machine, kept)
        expect_healthy(machine, "tried-01", {"/": f"/{kept}", "/home": "/home"}, version=kept)
        for number, (what, fault) in enumerate(FAULTS.items(), 3):
            tried = upgrade(machine, builds.push(number, *_HEALTHY, *fault.steps))
            comes_up(machine, kept)
            expect_healthy(machine, "tried-01", {"/": f"/{kept}", "/home": "/home"}, version=kept)
            assert starts(machine, tried) == 1, f"{what}: it is started once"
            given_up = row_of(machine, tried)["given_up"]
            say(f"{what}: {given_up}")
            assert re.search(fault.reason, given_up["reason"]), what
        machine.ssh("sudo terra rollback", timeout=300)
        restart(machine)
        comes_up(machine, "os")


def upgrade(machine: Machine, image: str) -> str:
    """Lay an image down, and start it on trial; return the version."""
    version = str(terra(machine, f"upgrade --http -o json {image}")["to"]["version"])
    restart(machine)
    return version


def starts(machine: Machine, version: str) -> int:
    """Return how often a version was started on trial, by what its kernel said on the console."""
    said = machine.serial.read_text(errors="replace")
    return len(re.findall(rf"Kernel command line:.*\bterra\.try={re.escape(version)}\b", said))


def row_of(machine: Machine, version: str) -> Any:
    """Return what ``terra versions`` says of a version."""
    return next(row for row in versions(machine) if row["version"] == version)
