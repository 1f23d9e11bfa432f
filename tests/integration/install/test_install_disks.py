"""Installing on loop devices: every profile, whole disks and partitions, and what is on the disks then."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.disks import MB, Disk, attached, blank, sparse
from lab.network import Network
from lab.registry import Registry
from terra_core.config.node import OWN
from terra_core.install.disks import part_device
from terra_core.system.mounts import mounted
from terra_core.system.process import Completed, run
from tests.integration.install.grounds import Ground, Installed, group, kinds, profiles, push, starts
from tests.unit.oci.making import file, folder

_METADATA = {"raid0": "raid1", "raid5": "raid1", "raid6": "raid1c3"}
_DISKS = {"single": 1, "raid0": 2, "raid1": 2, "raid1c3": 3, "raid1c4": 4, "raid5": 3, "raid6": 4, "raid10": 4}


def test_the_seeds_complex_node(ground: Ground, tmp_path: Path) -> None:
    """Install the seed's node, with an OS disk of its own in place of the seed's partition."""
    with blank(tmp_path, [640, 200, 200, 200, 200]) as disks:
        subvolumes = {"home": "/home", "log": "/var/log", "containerd": "/var/lib/containerd"}
        node = ground.node(
            group("os", "single", disks[:1], "mbr = true", 'compression = "zstd:3"', **subvolumes),
            group("storage", "raid10", disks[1:], 'options = ["noatime"]', luns="/iscsi", tftp="/tftp"),
        )
        lines = ground.install("--json", node).text.splitlines()
        events = [json.loads(line) for line in lines]
        steps = list(dict.fromkeys(event["step"] for event in events))
        assert [step for step in steps if step != "pull"] == [
            "plan", "clear", "partition", "format", "apply", "identity", "sync", "boot", "record", "ready", "done"
        ]  # fmt: skip
        assert sum(events[-1]["steps"].values()) == pytest.approx(events[-1]["seconds"], abs=1)
        data = part_device(disks[0].device, 3)
        with Installed(tmp_path / "top", {"os": [data], "storage": [disk.device for disk in disks[1:]]}) as top:
            assert profiles(top / "storage") == {"Data": "raid10", "Metadata": "raid10", "System": "raid10"}
            assert {path.name for path in (top / "os").iterdir()} == {"os", OWN, *subvolumes}
            assert (top / "os/os/etc/hostname").read_text() == "mt-01\n"
            assert (top / "os/os/etc/machine-id").read_text() == ""
            assert (top / "os/os/etc/resolv.conf").read_text() == "nameserver 10.0.10.1\n"
            system, storage = uuid_of(data), uuid_of(disks[1].device)
            assert (top / "os/os/etc/fstab").read_text().splitlines()[1:] == [
                f"UUID={system} / btrfs subvol=/os,compress=zstd:3 0 0",
                f"UUID={system} /home btrfs subvol=/home,compress=zstd:3 0 0",
                f"UUID={storage} /iscsi btrfs subvol=/luns,noatime,nofail 0 0",
                f"UUID={storage} /tftp btrfs subvol=/tftp,noatime,nofail 0 0",
                f"UUID={system} /var/lib/containerd btrfs subvol=/containerd,compress=zstd:3 0 0",
                f"UUID={system} /var/log btrfs subvol=/log,compress=zstd:3 0 0",
            ]
            note = top / "os/home/terra/note"
            assert (note.read_text(), note.stat().st_uid) == ("from the image\n", 1000)
            assert list((top / "os/os/home").iterdir()) == []
            menu = (top / "os/os/boot/grub/grub.cfg").read_text()
        assert menu.count(f"terra.uuid={system}") == 2, "once a kernel line: of the newest kernel, and of the image's"


def test_a_machine_beside_the_disk_of_an_earlier_one_has_its_own_file_systems(ground: Ground, tmp_path: Path) -> None:
    with blank(tmp_path, [600, 600, 200, 200]) as (former, new, *data):
        for hostname, disk, more in (("old-01", former, data[0]), ("new-01", new, data[1])):
            system, storage = group("os", "single", [disk], home="/home"), group("data", "single", [more], data="/data")
            ground.install(ground.node(system, storage, hostname=hostname))
        part = part_device(new.device, 3)
        with Installed(tmp_path / "top", {"os": [part]}) as top:
            sources = {line.split()[1]: line.split()[0] for line in (top / "os/os/etc/fstab").read_text().splitlines()[1:]}
            menu = (top / "os/os/boot/grub/grub.cfg").read_text()
        own = f"UUID={uuid_of(part)}"
        assert sources == {"/": own, "/home": own, "/data": f"UUID={uuid_of(data[1].device)}"}
        assert f" terra.uuid={uuid_of(part)} " in menu
        assert len({uuid_of(one) for one in (part_device(former.device, 3), part, *(disk.device for disk in data))}) == 4


@pytest.mark.parametrize(
    ("kind", "sector_size"), [*((kind, 512) for kind in _DISKS), ("single", 4096), ("raid1", 4096), ("raid10", 4096)]
)
def test_every_profile_starts_from_every_disk(kind: str, sector_size: int, ground: Ground, tmp_path: Path) -> None:
    with blank(tmp_path, [600] * _DISKS[kind], sector_size) as disks:
        ground.install(ground.node(group("os", kind, disks)))
        esp = 2 if sector_size == 512 else 1  # a BIOS knows sectors of 512 bytes alone
        parts = [part_device(disk.device, esp + 1) for disk in disks]
        with Installed(tmp_path / "top", {"os": parts}) as top:
            assert profiles(top / "os")["Data"] == kind
            assert profiles(top / "os")["Metadata"] == _METADATA.get(kind, "dup" if kind == "single" else kind)
        for disk in disks:
            assert starts(disk) == (sector_size == 512)
            run(["fsck.fat", "-n", part_device(disk.device, esp)])
            names = run(["mdir", "-/", "-b", "-i", part_device(disk.device, esp), "::/"]).text.split()
            assert {"::/EFI/BOOT/BOOTX64.EFI", "::/EFI/BOOT/grubx64.efi", "::/EFI/terra/shimx64.efi"} <= set(names)
            assert "::/EFI/debian/grub.cfg" in names or "::/EFI/ubuntu/grub.cfg" in names


@pytest.mark.parametrize("sector_size", [512, 4096])
def test_parents_are_mounted_before_children_across_groups(sector_size: int, ground: Ground, tmp_path: Path) -> None:
    with blank(tmp_path, [600, 200], sector_size) as disks:
        inner, outer = {"deep": "/srv/data/deep"}, {"data": "/srv/data"}
        ground.install(ground.node(group("os", "single", disks[:1], **inner), group("more", "single", disks[1:], **outer)))
        parts = {"os": [part_device(disks[0].device, 3 if sector_size == 512 else 2)], "more": [disks[1].device]}
        with Installed(tmp_path / "top", parts) as top:
            assert (top / "more/data/deep").is_dir(), "the mount point is where the machine will see it"
            assert not (top / "os/os/srv/data/deep").exists()


def test_a_given_partition_of_large_sectors(ground: Ground, tmp_path: Path) -> None:
    with blank(tmp_path, [700], 4096) as (disk,):
        run(["sfdisk", "--quiet", disk.device], stdin=b"label: gpt\nsize=400MiB\nsize=200MiB\n")
        system, other = part_device(disk.device, 1), part_device(disk.device, 2)
        before, content = run(["sfdisk", "--dump", disk.device]).text, _digest(other)
        ground.install(ground.node(group("os", "single", [system])))
        assert run(["sfdisk", "--dump", disk.device]).text == before
        assert _digest(other) == content
        with Installed(tmp_path / "top", {"os": [system]}) as top:
            assert (top / "os/os/etc/hostname").read_text() == "mt-01\n"


@pytest.mark.parametrize("table", ["dos", "gpt"])
def test_a_given_partition(table: str, ground: Ground, tmp_path: Path) -> None:
    """Check that the rest of its disk stays, except the sectors that a boot loader for a BIOS has."""
    with blank(tmp_path, [700]) as (disk,):
        bios = "size=1MiB, type=21686148-6449-6E6F-744E-656564454649\n" if table == "gpt" else "size=1MiB, type=83\n"
        script = f"label: {table}\n{bios}size=400MiB\nsize=200MiB\n"
        run(["sfdisk", "--quiet", disk.device], stdin=script.encode())
        system, other = part_device(disk.device, 2), part_device(disk.device, 3)
        run(["mkfs.ext4", "-q", "-L", "photos", other])
        before = run(["sfdisk", "--dump", disk.device]).text
        content = _digest(other)
        ground.install(ground.node(group("os", "single", [system], "mbr = true", home="/home")))
        assert run(["sfdisk", "--dump", disk.device]).text == before
        assert _digest(other) == content
        assert starts(disk)
        with Installed(tmp_path / "top", {"os": [system]}) as top:
            assert (top / "os/os/boot/grub/grub.cfg").exists()
        assert kinds(other) == {"ext4"}


@pytest.mark.parametrize("sector_size", [512, 4096])
def test_a_second_run_is_refused_and_wiping_makes_the_same_again(
    sector_size: int, ground: Ground, tmp_path: Path
) -> None:
    with blank(tmp_path, [600], sector_size) as (disk,):
        node = ground.node(group("os", "single", [disk]))
        ground.install(node)
        content = disk.content()
        refused = ground.install(node, accept=(1,)).stderr.decode()
        assert "is not blank: it holds gpt, PMBR" in refused
        assert "--wipe" in refused
        assert disk.content() == content
        ground.install("--wipe", node)
        with Installed(tmp_path / "top", {"os": [part_device(disk.device, 3 if sector_size == 512 else 2)]}) as top:
            assert (top / "os/os/etc/hostname").read_text() == "mt-01\n"


def test_a_disk_that_fails_half_way_is_named(ground: Ground, tmp_path: Path) -> None:
    with failing(tmp_path, 4) as disk:
        expect_named(ground.install(ground.node(group("os", "single", [disk])), accept=(1,)), disk)


def test_a_disk_that_fails_is_named_where_another_stands_in_for_it(
    ground: Ground, network: Network, registry: Registry, tmp_path: Path
) -> None:
    payload = file(b"srv/payload", random.Random(1).randbytes(24 * MB))  # noqa: S311  # what does not compress
    image = push(network, registry, tmp_path, name="large", further=(folder(b"srv"), payload))
    with blank(tmp_path, [700, 700]) as (system, sound), failing(tmp_path, 20) as disk:
        groups = group("os", "single", [system]), group("data", "raid1", [sound, disk], srv="/srv")
        failed = ground.install(ground.node(*groups, image=image), accept=(1,))
        expect_named(failed, disk)
        assert "writes that failed" in failed.stderr.decode()
        assert str(sound.device) not in failed.stderr.decode().rpartition("Error:")[2]
        assert not starts(system)


@contextmanager
def failing(tmp_path: Path, size: int) -> Iterator[Disk]:
    """Make a disk with room for ``size`` MB: its file is below a quota, and a loop device turns that into I/O errors.

    Of what is written to a file on a full disk, btrfs does not count the errors.
    """
    place = tmp_path / "below"
    place.mkdir()
    with attached([sparse(tmp_path / "below.img", 1024)]) as (below,):
        run(["mkfs.btrfs", "--quiet", below.device])
        with mounted(below.device, place, filesystem="btrfs"):
            run(["btrfs", "quota", "enable", place])
            run(["btrfs", "subvolume", "create", place / "limited"])
            run(["btrfs", "qgroup", "limit", f"{size}M", place / "limited"])
            with attached([sparse(place / "limited/disk.img", 700)]) as (disk,):
                yield disk


def expect_named(failed: Completed, disk: Disk) -> None:
    """Expect an error that names the disk."""
    assert str(disk.device) in failed.stderr.decode().rpartition("Error:")[2]
    assert b"Traceback" not in failed.stderr


def _digest(device: Path) -> str:
    return run(["sha256sum", device], timeout=120).text.split()[0]


def test_the_disk_is_known_by_its_links(ground: Ground, tmp_path: Path) -> None:
    with blank(tmp_path, [600, 300]) as disks:
        link, same = tmp_path / "by-id", tmp_path / "by-path"
        link.symlink_to(disks[0].device)
        same.symlink_to(link)
        node = ground.node(group("os", "raid1", [link, same]))
        refused = ground.install(node, accept=(1,)).stderr.decode()
        assert f"{same}: is the same disk as {link}" in refused
        assert not any(os.pread(os.open(disks[0].file, os.O_RDONLY), MB, 0))
        ground.install(ground.node(group("os", "single", [link])))
        assert starts(disks[0])


def uuid_of(device: Path) -> str:
    """Return the UUID of a file system, as blkid(8) reads it."""
    return run(["blkid", "--probe", "--match-tag", "UUID", "--output", "value", device]).text.strip()
