"""Machines that are clones of an image that is laid down once, with real parts; also on a store that shares blocks."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.network import CONTROLLER
from terra_core.system.mounts import loop_device, mounted
from terra_core.system.process import run
from tests.integration.controller.sites import Ground
from tftp_lab.clients import fetch

OTHER = "52:54:00:00:00:02"
SHARED = 2 << 20
"""So much of its own a clone may have, in bytes, of an image of 100 MB."""


@pytest.fixture(autouse=True)
def _nothing_after(ground: Ground) -> Iterator[None]:
    yield
    ground.clear()
    assert ground.left() == []
    assert not ground.golden()


def images(ground: Ground) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = json.loads(ground.terra("images", "--json").text)
    return [*{one["digest"]: one for one in shown}.values()]


def lun_of(shown: dict[str, Any]) -> Path:
    return Path(shown["disk_groups"][0]["disks"][0]["device"])


def uuid_of(lun: Path) -> str:
    return run(["blkid", "--probe", "--match-tag", "UUID", "--output", "value", lun]).text.strip()


def tree(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything below a directory, but for what tells one machine from another."""
    own = {"etc/hostname", "etc/hosts", "etc/fstab", "etc/machine-id", "etc"}
    paths = {str(path.relative_to(root)): path.lstat() for path in root.rglob("*")}
    found = {name: (at.st_mode, at.st_size, at.st_uid, at.st_mtime_ns) for name, at in paths.items() if name not in own}
    return {**found, ".": (root.stat().st_mode, root.stat().st_mtime_ns)}


def test_two_machines_are_one_image_and_two_machines(ground: Ground, small: str) -> None:
    first = ground.terra("provision", ground.node(small))
    second = ground.terra("provision", ground.node(small, "cm-02", OTHER))
    assert "once for all machines" in first.stderr.decode()
    said = second.stderr.decode()
    assert "cm-02 is a clone of what is laid down of" in said
    assert "once for all machines" not in said
    luns = [lun_of(json.loads(done.text)) for done in (first, second)]
    uuids = [uuid_of(lun) for lun in luns]
    assert uuids[0] != uuids[1]
    for lun in luns:
        run(["btrfs", "check", "--readonly", lun])
    trees = []
    for at, (lun, name, mac) in enumerate(zip(luns, ("cm-01", "cm-02"), ("52:54:00:00:00:01", OTHER), strict=True)):
        with ground.opened(str(lun)) as root:
            assert (root / "etc/hostname").read_text() == f"{name}\n"
            assert f"127.0.1.1 {name}\n" in (root / "etc/hosts").read_text()
            assert (root / "etc/machine-id").read_text() == ""
            assert {line.split()[0] for line in (root / "etc/fstab").read_text().splitlines()[1:]} == {f"UUID={uuids[at]}"}
            assert list(root.rglob(".terra*")) == []
            trees.append(tree(root))
        with ground.opened(str(lun), "home") as home:
            assert (home / "terra/.profile").read_text() == "umask 022\n"
        with ground.site.network.inside():
            assert f" terra.uuid={uuids[at]} " in fetch(CONTROLLER, f"grub/{mac}.cfg").decode()
    assert trees[0] == trees[1]
    (shown,) = images(ground)
    assert (shown["image"], shown["machines"], shown["state"], shown["problem"]) == (small, 2, "ready", "")
    head, row = ground.terra("images").text.splitlines()
    assert head.split() == ["IMAGE", "DIGEST", "LAYOUT", "MACHINES", "STATE", "PINNED", "LAST", "USED"]
    assert row.split()[:2] == [small, shown["digest"][:19]]
    assert "os btrfs 256 MB with /home,/var/log,/var/lib/containerd" in row
    assert "is pinned" in ground.terra("images", "--pin", shown["digest"][7:19]).stderr.decode()
    refused = ground.terra("images", "--remove", shown["digest"], accept=(1,)).stderr.decode()
    assert "is pinned" in refused
    assert "Traceback" not in refused
    ground.terra("images", "--unpin", shown["digest"])
    assert b"give one of them" in ground.terra("images", "--pin", "abcdef", "--unpin", "abcdef", accept=(2,)).stderr


def test_a_store_that_shares_blocks_gives_a_clone_next_to_none_of_its_own(ground: Ground, big: str, tmp_path: Path) -> None:
    store, disk = ground.site.paths.root / "iscsi", tmp_path / "store.img"
    disk.touch()
    os.truncate(disk, 2 << 30)
    run(["mkfs.btrfs", "--quiet", disk])
    with loop_device(disk) as device, mounted(device, store, filesystem="btrfs"):
        for shown in (ground.provision(big, size=512), ground.provision(big, "cm-02", OTHER, size=512)):
            usage = run(["btrfs", "filesystem", "du", "--raw", "--summarize", lun_of(shown)]).text.splitlines()[-1].split()
            total, own = int(usage[0]), int(usage[1])
            assert total > 100 << 20
            assert own < SHARED
        ground.clear()


def test_what_somebody_wrote_to_is_not_cloned(ground: Ground, small: str) -> None:
    ground.provision(small)
    (name,) = ground.golden()
    with (ground.site.paths.root / "iscsi" / name / "0.lun").open("r+b") as opened:
        opened.seek(100 << 20)
        opened.write(b"another")
    said = ground.terra("provision", ground.node(small, "cm-02", OTHER)).stderr.decode()
    assert "somebody has written to" in said
    assert "Traceback" not in said
    assert ground.golden() != {name}
    assert not (ground.site.paths.root / "iscsi" / name).exists()
