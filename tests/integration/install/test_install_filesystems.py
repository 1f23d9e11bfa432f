"""Installing on ext4 and xfs: what is on the disks then, what GRUB reads of it, and what is refused."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest

from lab.disks import Disk, blank
from terra_core.install.disks import part_device
from terra_core.system.mounts import mounted
from terra_core.system.process import run
from tests.integration.install.grounds import Ground, group, kinds, starts
from tests.integration.install.test_install_killed import begin

KINDS = ("ext4", "xfs")


def uuid_of(device: Path) -> str:
    return run(["blkid", "--probe", "--match-tag", "UUID", "--output", "value", device]).text.strip()


def on(kind: str) -> str:
    return f'filesystem = "{kind}"'


def read_by_grub(disk: Disk, part: int, path: str) -> str:
    return run(["grub-fstest", disk.file, "cat", f"(loop0,gpt{part})/{path}"]).text


@pytest.mark.parametrize("sector_size", [512, 4096])
@pytest.mark.parametrize("kind", KINDS)
def test_a_machine_on_one_disk_and_another_group_beside_it(kind: str, sector_size: int, ground: Ground, tmp_path: Path) -> None:
    with blank(tmp_path, [700, 320], sector_size) as disks:
        system = group("os", "single", disks[:1], on(kind), 'options = ["noatime"]', home="/home", cache="/var/cache/apt")
        ground.install(ground.node(system, group("data", "single", disks[1:], on("xfs"), luns="/iscsi")))
        number = 3 if sector_size == 512 else 2  # a BIOS knows sectors of 512 bytes alone
        part, data = part_device(disks[0].device, number), disks[1].device
        place = tmp_path / "root"
        place.mkdir()
        with mounted(part, place, filesystem=kind, options=("ro",)) as top:
            root = top / "os"
            assert (root / "etc/fstab").read_text().splitlines()[1:] == [
                f"UUID={uuid_of(part)} / {kind} noatime 0 0",
                f"UUID={uuid_of(part)} /run/terra/groups/os {kind} noatime,X-mount.mkdir 0 0",
                "/run/terra/groups/os/home /home none bind 0 0",
                f"UUID={uuid_of(data)} /run/terra/groups/data xfs X-mount.mkdir,nofail 0 0",
                "/run/terra/groups/data/luns /iscsi none bind,nofail 0 0",
                "/run/terra/groups/os/cache /var/cache/apt none bind 0 0",
            ]
            assert (top / "home/terra/note").read_text() == "from the image\n"
            assert (top / "cache").is_dir()
            assert (root / "var/cache/apt").is_dir()
            assert len([*(top / ".terra").glob("layers/*")]) == (kind == "xfs"), "only what shares its blocks is kept"
            menu = (root / "boot/grub/grub.cfg").read_text()
        assert f" terra.uuid={uuid_of(part)} " in menu
        assert starts(disks[0]) == (sector_size == 512)
        if sector_size == 512:  # grub-fstest knows no others
            assert read_by_grub(disks[0], number, "os/boot/grub/grub.cfg") == menu
        with mounted(data, place, filesystem="xfs", options=("ro",)) as there:
            assert (there / "luns").is_dir()


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_cannot_do_is_refused_before_anything_is_written(kind: str, ground: Ground, tmp_path: Path) -> None:
    with blank(tmp_path, [700, 700]) as disks:
        before = [disk.content() for disk in disks]
        for node, said in (
            (group("os", "raid1", disks, on(kind)), f'group "os": type: {kind} has no raid1: say filesystem = "btrfs"'),
            (group("os", "single", disks, on(kind)), f"disk: {kind} is on one disk, and 2 are named"),
            (group("os", "single", disks[:1], on(kind), 'compression = "zstd"'), f"compression: {kind} compresses nothing"),
            (group("os", "single", disks[:1], on(kind), 'options = ["ssd"]'), f"""options: "ssd": {kind}: Unknown parameter"""),
            (group("os", "single", disks[:1], on("ext5")), "'ext5', the plugin for the role filesystem, is not installed"),
        ):
            told = ground.install(ground.node(node), accept=[2]).stderr.decode()
            assert said in " ".join(told.split())
            assert "Traceback" not in told
        assert [disk.content() for disk in disks] == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_that_holds_something_is_wiped_only_when_that_is_said(kind: str, ground: Ground, tmp_path: Path) -> None:
    with blank(tmp_path, [700]) as (disk,):
        run(["mkfs.btrfs", "-q", disk.device])
        node = ground.node(group("os", "single", [disk], on(kind)))
        assert "is not blank: it holds btrfs" in ground.install(node, accept=[1]).stderr.decode()
        ground.install("--wipe", node)
        assert kinds(part_device(disk.device, 3)) == {kind}


@pytest.mark.parametrize("step", ["format", "apply", "sync"])
@pytest.mark.parametrize("kind", KINDS)
def test_killed_and_run_again_it_completes(kind: str, step: str, ground: Ground, tmp_path: Path) -> None:
    with blank(tmp_path, [700]) as (disk,):
        node = ground.node(group("os", "single", [disk], on(kind), home="/home"))
        killed = begin(ground, node, step)
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait(10)
        ground.install(node)
        assert "Terra: mt-01" in read_by_grub(disk, 3, "os/boot/grub/grub.cfg")


def test_the_plan_says_what_subvolumes_are(ground: Ground, tmp_path: Path) -> None:
    with blank(tmp_path, [700]) as (disk,):
        node = ground.node(group("os", "single", [disk], on("ext4"), home="/home"))
        plan = json.loads(ground.install("--plan", "--json", node).text)
        assert "os: ext4 has no subvolumes: home will be directories of one file system" in plan["notes"]
        assert plan["groups"][0]["capacity"] == plan["disks"][0]["partitions"][-1]["size"]


def test_the_plan_says_how_long_the_boot_loader_for_its_file_system_is(ground: Ground, tmp_path: Path) -> None:
    with blank(tmp_path, [700]) as (disk,):
        lengths = {}
        for kind in (*KINDS, "btrfs"):
            node = ground.node(group("os", "single", [disk], on(kind)))
            notes = json.loads(ground.install("--plan", "--json", node).text)["notes"]
            (lengths[kind],) = [int(found[1]) for note in notes if (found := re.search(r"sector 0 and (\d+) from", note))]
        assert lengths["ext4"] < lengths["xfs"] < lengths["btrfs"]
