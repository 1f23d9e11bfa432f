"""Random layouts on real loop devices: the disks that a plan does not name have the same content before and after.

TERRA_LAYOUTS says how many, 12 when it is not set; ``make test-layouts`` tries 500.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from pathlib import Path

from lab.disks import Disk, blank
from lab.network import Network
from terra_core.config.controller import Paths
from terra_core.config.loader import load
from terra_core.config.node import Node, Profile
from terra_core.install.disks import part_device
from terra_core.install.use import installation
from terra_core.plugins import Plugins
from terra_core.system.mounts import loop_devices, mount_points
from terra_core.system.process import run
from tests.integration.install.grounds import Ground, group, scribble

_LAYOUTS = int(os.environ.get("TERRA_LAYOUTS", "12"))
_DISKS = 8
_PROFILES = tuple(Profile)


def test_disks_that_the_plan_does_not_name_stay_as_they_are(ground: Ground, network: Network, tmp_path: Path) -> None:
    plugins = Plugins.discover()
    chance = random.Random(20_261_123)  # noqa: S311  # the same layouts in every run
    with blank(tmp_path, [600] * _DISKS) as disks, network.inside():
        for at, disk in enumerate(disks):
            scribble(disk, at)
        for number in range(_LAYOUTS):
            named, text = _layout(chance, disks)
            node = ground.node(text)
            others = [disk for disk in disks if disk not in named]
            before = [disk.content() for disk in others]
            document, paths = load(node, Node, owners=plugins.names), Paths(tmp_path)
            with installation(document, plain_http=True, wipe=True, paths=paths, plugins=plugins) as found:
                found.carry_out()
            assert [disk.content() for disk in others] == before, f"layout {number}:\n{text}"
            assert not [point for point in mount_points() if tmp_path in point.path.parents]
            assert len([device for device in loop_devices() if tmp_path in device.file.parents]) == _DISKS


def _layout(chance: random.Random, disks: Sequence[Disk]) -> tuple[list[Disk], str]:
    """Return disks and the groups on them; now and then the system is on an existing partition."""
    free = chance.sample(disks, len(disks))
    text, named = "", []
    for label in ("os", "data")[: chance.randint(1, 2)]:
        profile = chance.choice([one for one in _PROFILES if one.least_disks <= len(free)])
        count = chance.randint(profile.least_disks, min(len(free), profile.least_disks + 1))
        mine, free = free[:count], free[count:]
        named += mine
        lines = [f'boot = "{chance.choice(["bios", "uefi", "both"])}"'] if label == "os" and chance.random() < 0.5 else []
        devices: list[Path] = [disk.device for disk in mine]
        if label == "os" and count == 1 and chance.random() < 0.5:
            devices, lines = [_partitioned(mine[0])], ["mbr = true"]
        paths = chance.sample(["/home", "/var/log", "/srv", "/srv/data", "/var/lib/a"], chance.randint(0, 3))
        taken = [path for path in paths if f'"{path}"' not in text]
        text += group(label, profile.value, devices, *lines, **{f"sub{at}": path for at, path in enumerate(taken)})
        if not free:
            break
    return named, text


def _partitioned(disk: Disk) -> Path:
    run(["partx", "--delete", disk.device], accept=range(256))
    run(["sfdisk", "--quiet", "--wipe", "always", disk.device], stdin=b"label: dos\nsize=300MiB\nsize=100MiB\n")
    return part_device(disk.device, 1)
