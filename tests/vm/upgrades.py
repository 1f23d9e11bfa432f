"""Machines that upgrade themselves: images that are the next version of each other, and Terra's commands in a machine."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lab.machine import Machine
from lab.site import Site
from tests.vm.live import say
from tests.vm.nodes import group
from tests.vm.test_install import install

_SERVER = Path(__file__).parent / "server.toml"
_HOSTNAME = "grown"
BUILD = "/etc/build"
"""The file of an image that has the number of its build."""
_EPOCH = 1_700_000_000
_SLOW = "/etc/systemd/system.conf.d/slow.conf"
"""Emulated beside much else, a machine is slower than any that these limits are made for."""
BOOT_SECONDS = 1500
UPGRADE_SECONDS = 1800
INSTALL_SECONDS = 900
TRIAL_SECONDS = 2400
_FORMER = "/run/former"
DECIDED = "systemctl show --property ExecMainExitTimestampMonotonic terra-trial terra-settle | grep --quiet '=[1-9]'"
"""Asks a machine whether the one unit of the two that its start has come to its end: it may not even have begun."""
_SSH_LOST = 255


class Builds:
    """Pushes builds of one image, of which only the last layer is another one in each.

    :param key: the private key of who may log in.
    :param directory: an empty directory.
    """

    def __init__(self, site: Site, key: Path, directory: Path) -> None:
        self._site = site
        self._directory = directory
        self._public = key.with_suffix(".pub").read_text().strip()

    def push(self, number: int, *steps: str) -> str:
        """Push a build; return its name.

        :param steps: shell commands that make it another one than the build before, beside its number.
        """
        slow = f"printf '[Manager]\\nDefaultTimeoutStartSec=900\\nDefaultDeviceTimeoutSec=900\\n' > {_SLOW}"
        last = " && ".join([f"echo {number} > {BUILD}", *steps])
        text = _SERVER.read_text()
        for former, new in (
            ('hostname = "example"', f'hostname = "{_HOSTNAME}"'),
            ('version = "6"', f'version = "{number}"'),
            ('userland = """\n', f"userland = '''\nRUN mkdir -p {_SLOW.rpartition('/')[0]} && {slow}\n"),
            ('\n"""\n', f"\nRUN {last}\n'''\n"),
        ):
            assert text.count(former) == 1, former
            text = text.replace(former, new)
        server = self._directory / "server.toml"
        server.write_text(f'{text}\n[ssh]\n  keys = ["{self._public}"]\n')
        # No time in a layer that leaves the engine is later than that of the newest file of the context: with another one, no
        # layer is as it was before, and an upgrade fetches all of them.
        os.utime(server, (_EPOCH, _EPOCH))
        return self._site.command(["create", "--push", server]).text.strip().partition("@")[0]


def make(
    site: Site,
    capsys: pytest.CaptureFixture[str],
    directory: Path,
    hostname: str,
    disks: Sequence[Path],
    image: str,
    upgrade: str,
) -> None:
    """Install a machine with data of its own.

    :param upgrade: the table ``[upgrade]`` of its node.toml.
    """
    system = group("os", "raid1" if len(disks) > 1 else "single", len(disks), home="/home", data="/srv/data")
    table, name = f"[upgrade]\n{upgrade}\n", image.partition("/")[2]
    install(site, capsys, directory, hostname, disks, table, system, image=name, most=INSTALL_SECONDS)


def comes_up(machine: Machine, version: str) -> None:
    """Wait until a machine that was asked to restart has come up with a version on which is decided, through whatever restarts.

    :param version: one that is no trial, or is kept after one.
    """
    line = f"tr ' ' '\\n' < /proc/cmdline | grep --quiet --line-regexp version={version}"
    machine.wait_for_answer(f"test ! -e {_FORMER} && {line} && {DECIDED} && echo there", "there", seconds=TRIAL_SECONDS)


def restart(machine: Machine) -> None:
    """Ask a machine to start again, and leave in it what the start after that does not have."""
    machine.ssh(f"sudo touch {_FORMER} && sudo systemctl reboot", accept=(0, _SSH_LOST))


def terra(machine: Machine, words: str) -> Any:
    """Run ``terra`` in a machine; return the JSON that it prints."""
    done = machine.ssh(f"time -p sudo terra {words}", timeout=UPGRADE_SECONDS)
    say(f"{machine.hardware.mac}: terra {words}: {done.stderr.decode(errors='replace')}")
    return json.loads(done.stdout)


def versions(machine: Machine) -> Any:
    """Return what ``terra versions`` lists."""
    return terra(machine, "versions -o json")
