"""Disk groups on real loop devices."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from attrs import evolve

from terra_btrfs import plugin
from terra_btrfs.superblock import Identity, parse_superblock
from terra_core.config.node import DiskGroup
from terra_core.config.session import Session
from terra_core.config.structure import structure
from terra_core.config.values import parse_mount_option
from terra_core.errors import ConflictError, InterruptedWork, TerraError
from terra_core.hookspecs import PreparedGroup
from terra_core.system.mounts import loop_device, loop_devices, mount_points, mounted, sweep
from terra_core.system.process import run
from terra_core.system.progress import Event

MB = 1024 * 1024


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "work"
    path.mkdir()
    yield path
    sweep(tmp_path, tmp_path)


def images(directory: Path, number: int, size: int = 200) -> list[Path]:
    made = []
    for at in range(number):
        path = directory / f"{at}.lun"
        with path.open("xb") as file:
            file.truncate(size * MB)
        made.append(path)
    return made


def group(label: str, kind: str, disks: int, **subvolumes: str) -> DiskGroup:
    raw = {
        "label": label,
        "type": kind,
        "disk": [{"device": f"/dev/sd{letter}"} for letter in "abcdef"[:disks]],
        "subvolumes": [{"name": name, "path": path} for name, path in subvolumes.items()],
    }
    return structure(raw, DiskGroup)


def identity(path: Path) -> Identity | None:
    with path.open("rb") as file:
        file.seek(64 * 1024)
        return parse_superblock(file.read(4096))


def profiles(place: Path) -> dict[str, str]:
    text = run(["btrfs", "--format", "json", "filesystem", "df", place]).text
    return {row["bg-type"]: row["bg-profile"].lower() for row in json.loads(text)["filesystem-df"]}


def nothing_left(directory: Path) -> bool:
    points = [point for point in mount_points() if directory in point.path.parents]
    loops = [device for device in loop_devices() if directory in device.file.parents]
    return not points and not loops


def subvolumes(prepared: PreparedGroup, work: Path) -> list[str]:
    with mounted(prepared.mounts[0].device, work, filesystem="btrfs", options=("subvolid=5",)) as top:
        text = run(["btrfs", "subvolume", "list", top]).text
    return sorted(line.split()[-1] for line in text.splitlines())


def test_the_group_of_the_operating_system(work: Path, tmp_path: Path) -> None:
    disks = images(tmp_path, 1)
    wanted = group("os", "single", 1, home="/home", log="/var/log")
    with plugin.prepare_disks(wanted, disks, work, Session()) as prepared:
        assert [mount.path for mount in prepared.mounts] == ["/", "/home", "/var/log"]
        (fsid,) = {mount.source.removeprefix("UUID=") for mount in prepared.mounts}
        shown = run(["blkid", "--probe", "--match-tag", "UUID", "--output", "value", prepared.mounts[0].device]).text
        assert shown == f"{fsid}\n"
        assert prepared.kernel_arguments == (f"terra.uuid={fsid}",)
        assert subvolumes(prepared, work) == ["home", "log", "os"]
        for mount in prepared.mounts:
            with mounted(mount.device, work, filesystem=mount.filesystem, options=mount.options) as place:
                assert place.stat().st_mode & 0o7777 == 0o755
                (place / "here").write_text(mount.path)
                assert profiles(place)["Metadata"] == "dup"
        assert not list(work.iterdir())
    assert nothing_left(tmp_path)
    with loop_device(disks[0]) as device, mounted(device, work, filesystem="btrfs", options=("subvol=/log",)) as place:
        assert (place / "here").read_text() == "/var/log"
        assert run(["btrfs", "filesystem", "label", place]).text.strip() == "os"


def test_subvolumes_can_be_entered_whatever_the_umask(work: Path, tmp_path: Path) -> None:
    former = os.umask(0o077)
    try:
        with plugin.prepare_disks(group("os", "single", 1), images(tmp_path, 1), work, Session()) as prepared:
            mount = prepared.mounts[0]
            with mounted(mount.device, work, filesystem="btrfs", options=mount.options) as place:
                assert place.stat().st_mode & 0o7777 == 0o755
    finally:
        os.umask(former)


@pytest.mark.parametrize(
    ("kind", "number", "data", "metadata"),
    [("raid1", 4, "raid1", "raid1"), ("raid10", 4, "raid10", "raid10"), ("raid5", 3, "raid5", "raid1"),
     ("raid6", 4, "raid6", "raid1c3"), ("raid0", 2, "raid0", "raid1"), ("single", 2, "single", "raid1")],
)  # fmt: skip
def test_raid(kind: str, number: int, data: str, metadata: str, work: Path, tmp_path: Path) -> None:
    heard: list[Event] = []
    disks = images(tmp_path, number)
    wanted = group("storage", kind, number, luns="/iscsi")
    with plugin.prepare_disks(wanted, disks, work, Session(report=heard.append)) as prepared:
        (mount,) = prepared.mounts
        with mounted(mount.device, work, filesystem="btrfs", options=mount.options) as place:
            assert profiles(place) | {"Data": data, "Metadata": metadata} == profiles(place)
    assert nothing_left(tmp_path)
    assert {identity(disk) for disk in disks} == {identity(disks[0])}
    assert any("write hole" in event.text for event in heard) is (kind in ("raid5", "raid6"))


@pytest.mark.parametrize(("kind", "number", "least"), [("single", 1, 109), ("single", 2, 69), ("raid10", 4, 125)])
def test_the_least_size_is_what_mkfs_takes(kind: str, number: int, least: int, work: Path, tmp_path: Path) -> None:
    disks = images(tmp_path, number, least)
    with plugin.prepare_disks(group("os", kind, number), disks, work, Session()):
        pass
    os.truncate(disks[-1], (least - 1) * MB)
    with (
        pytest.raises(TerraError, match=f"has {least - 1} MB, and btrfs needs at least {least} MB"),
        plugin.prepare_disks(group("os", kind, number), disks, work, Session()),
    ):
        raise AssertionError("not reached")


def test_mount_options_are_tried_before_anything_is_written() -> None:
    wanted = evolve(group("os", "single", 1), options=tuple(map(parse_mount_option, ("noatime", "data=journal"))))
    with pytest.raises(TerraError, match=r"""^group "os": options: "data=journal": btrfs: Unknown parameter 'data'"""):
        plugin.check_disks(wanted, [200 * MB], Session())


def test_block_devices_are_used_as_they_are(work: Path, tmp_path: Path) -> None:
    disks = images(tmp_path, 2)
    with loop_device(disks[0]) as first, loop_device(disks[1]) as second:
        link = tmp_path / "by-id"
        link.symlink_to(second)
        with plugin.prepare_disks(group("os", "raid1", 2), [first, link], work, Session()) as prepared:
            assert prepared.mounts[0].device == first
        assert len([device for device in loop_devices() if device.file in disks]) == 2


def beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(2 * MB)


def refused(devices: list[Path], work: Path, error: type[TerraError], match: str) -> None:
    """Assert that the group is refused, and that every device of it is unchanged."""
    before = [beginning(device) for device in devices if device.is_file()]
    with (
        pytest.raises(error, match=match),
        plugin.prepare_disks(group("os", "single", len(devices)), devices, work, Session()),
    ):
        raise AssertionError("not reached")
    assert before == [beginning(device) for device in devices if device.is_file()]


def test_the_second_disk_of_a_mounted_group(work: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    with plugin.prepare_disks(group("os", "raid1", 2), images(tmp_path, 2), work, Session()) as prepared:
        second = next(device.path for device in loop_devices() if device.file == tmp_path / "1.lun")
        with mounted(prepared.mounts[0].device, place, filesystem="btrfs", options=prepared.mounts[0].options):
            refused([second], work, ConflictError, f"{second}: is in use, part of the mounted btrfs file system")


@pytest.mark.parametrize("tool", [["mkfs.ext4", "-q"], ["mkfs.btrfs", "-q", "-L", "os"], ["mkswap"]])
def test_a_disk_that_is_not_blank(tool: list[str], work: Path, tmp_path: Path) -> None:
    good, bad = images(tmp_path, 2)
    run([*tool, bad])
    refused([good, bad], work, ConflictError, f"{bad}: is not blank: it holds (ext4|btrfs|swap)")
    run(["wipefs", "--quiet", "--all", bad])
    with plugin.prepare_disks(group("os", "single", 2), [good, bad], work, Session()):
        pass


def test_an_interruption_while_reporting(work: Path, tmp_path: Path) -> None:
    def enough(event: Event) -> None:
        raise InterruptedWork("enough")

    (image,) = images(tmp_path, 1)
    with (
        pytest.raises(InterruptedWork),
        plugin.prepare_disks(group("os", "single", 1), [image], work, Session(report=enough)),
    ):
        raise AssertionError("not reached")
    assert identity(image) is None


def test_groups_of_several_machines_at_once(work: Path, tmp_path: Path) -> None:
    def prepare(number: int) -> list[str]:
        place = tmp_path / f"machine-{number}"
        for name in ("files", "work", "mount"):
            (place / name).mkdir(parents=True)
        disks = images(place / "files", 2)
        with plugin.prepare_disks(group("os", "raid1", 2, home="/home"), disks, place / "work", Session()) as prepared:
            for mount in prepared.mounts:
                with mounted(mount.device, place / "mount", filesystem="btrfs", options=mount.options) as there:
                    (there / "number").write_text(str(number))
            return subvolumes(prepared, place / "mount")

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(prepare, range(5))) == [["home", "os"]] * 5
    assert nothing_left(tmp_path)
