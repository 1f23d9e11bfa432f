"""A machine without a disk gets the next image with its data, and comes back by itself from one that is not well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lab.machine import Machine
from lab.site import CONFIG, Site
from terra_core.system.waiting import wait_until
from tests.vm.live import say
from tests.vm.nodes import example, expect_running
from tests.vm.upgrades import BOOT_SECONDS, BUILD, TRIAL_SECONDS, Builds

pytestmark = pytest.mark.long

_HOST, _MAC = "netup-01", "52:54:00:00:0b:21"
_OFF_SECONDS = 300
_CHECK = "/usr/local/bin/check"
_STEPS = (
    f"printf '#!/bin/sh\\ntest \"$1\" = 100%% && test ! -e /etc/broken || {{ echo it is broken; exit 1; }}\\n' > {_CHECK}",
    f"chmod 755 {_CHECK}",
)
_UPGRADE = f'\n[upgrade]\ncheck = ["{_CHECK}", "100%"]\nkeep = ["/etc/own"]\n'


@pytest.fixture(scope="module")
def site_config() -> str:
    """Return the controller.toml of the site: emulated beside much else, a machine is slow."""
    return f'{CONFIG}\n[upgrade]\ntimeout = "{TRIAL_SECONDS // 60}m"\n'


def test_the_next_image_is_kept_and_one_whose_check_fails_is_left(site: Site, lab_key: Path, tmp_path: Path) -> None:
    builds = Builds(site, lab_key, tmp_path)
    node_toml = tmp_path / "node.toml"
    node_toml.write_text(example("node.toml", hostname=_HOST, mac=_MAC, image=builds.push(1, *_STEPS)) + _UPGRADE)
    site.command(["provision", node_toml])
    with Machine(site.network, _MAC, site.directory / "serial/netup.log") as machine:
        address = machine.wait_for_address(site.leases, seconds=BOOT_SECONDS)
        machine.wait_for_ssh(address, "terra", lab_key, seconds=BOOT_SECONDS)
        wait_until(lambda: shown(site)["state"] == "booted", seconds=BOOT_SECONDS, what="it to be booted", interval=2)
        machine.ssh("echo mine | sudo tee /etc/own /etc/lost; echo precious > ~/data; sync")
        own = machine.ssh("cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub").text
        upgrade(site, machine, builds.push(2, *_STEPS))
        machine.wait_for_answer(f"cat {BUILD}", "2", seconds=BOOT_SECONDS)
        wait_for(site, "kept")
        expect_running(machine, _HOST)
        expect_the_second(machine, own)
        assert machine.ssh("systemctl show --property Result --value terra-check.service").text.strip() == "success"
        upgrade(site, machine, builds.push(3, *_STEPS, "touch /etc/broken"))
        wait_for(site, "returning", "left")
        assert "terra-check.service failed" in shown(site)["upgrade"]["reason"]
        machine.wait_for_answer(f"cat {BUILD}", "2", seconds=TRIAL_SECONDS)
        wait_for(site, "left")
        expect_running(machine, _HOST)
        expect_the_second(machine, own)
        assert "terra.trial" not in machine.ssh("cat /proc/cmdline").text.split()
        say(site.command(["logs", _HOST]).text)
    site.command(["delete", "--force", _HOST])


def upgrade(site: Site, machine: Machine, image: str) -> None:
    """Upgrade a machine that runs, switch it off, and on again when it has its next version."""
    done = site.command(["upgrade", _HOST, "--image", image])
    assert "restart it" in done.stderr.decode()
    machine.ssh("sudo systemctl poweroff", accept=(0, 255))
    wait_until(lambda: not machine.running, seconds=_OFF_SECONDS, what="the machine to be off", interval=1)
    wait_for(site, "trial")
    machine.reset()


def wait_for(site: Site, *phases: str) -> None:
    """Wait until the upgrade is in one of these phases."""
    what = f"the upgrade to be {' or '.join(phases)}"
    wait_until(lambda: shown(site)["upgrade"]["phase"] in phases, seconds=TRIAL_SECONDS, what=what, interval=2)


def shown(site: Site) -> Any:
    """Return what the controller says of the machine."""
    (found,) = json.loads(site.command(["list", "--json"]).text)
    return found


def expect_the_second(machine: Machine, own: str) -> None:
    """Ask the machine for the second build, with what is its own."""
    assert machine.ssh(f"cat {BUILD} /etc/own ~/data").text == "2\nmine\nprecious\n"
    assert machine.ssh("cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub").text == own
    assert machine.ssh("test ! -e /etc/lost && findmnt --noheadings --output FSROOT /").text.strip() == "/os"
