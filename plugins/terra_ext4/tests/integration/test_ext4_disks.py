"""Disk groups of one disk on real loop devices, read by GRUB's own drivers and by the file system checks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from lab.disks import MB, digest_of, sparse
from terra_core.config.node import DiskGroup
from terra_core.config.session import Session
from terra_core.config.structure import structure
from terra_core.errors import ConfigError, ConflictError, NotFoundError, TerraError
from terra_core.hookspecs import PreparedGroup
from terra_core.system.mounts import loop_device, loop_devices, mount_points, mounted, sweep
from terra_core.system.process import run
from terra_ext4 import DiskPlugin, plugin, xfs

SIZE = {"ext4": 64, "xfs": 320}


@pytest.fixture(params=[plugin, xfs], ids=["ext4", "xfs"])
def filler(request: pytest.FixtureRequest) -> DiskPlugin:
    chosen: DiskPlugin = request.param
    return chosen


@pytest.fixture
def disk(filler: DiskPlugin, tmp_path: Path) -> Path:
    return sparse(tmp_path / "0.lun", SIZE[filler.name])


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "work"
    path.mkdir()
    yield path
    sweep(tmp_path, tmp_path)


def group(label: str = "os", *, options: tuple[str, ...] = (), **subvolumes: str) -> DiskGroup:
    raw = {
        "label": label,
        "disk": [{"device": "/dev/sda"}],
        "options": list(options),
        "subvolumes": [{"name": name, "path": path} for name, path in subvolumes.items()],
    }
    return structure(raw, DiskGroup)


def nothing_left(directory: Path) -> bool:
    points = [point for point in mount_points() if directory in point.path.parents]
    loops = [device for device in loop_devices() if directory in device.file.parents]
    return not points and not loops


def tags(device: Path) -> dict[str, str]:
    rows = run(["blkid", "--probe", "--output", "export", device]).text.split()
    return dict(row.split("=", 1) for row in rows if "=" in row)


def tree(root: Path) -> dict[str, int]:
    found = {str(path.relative_to(root)): path.stat().st_mode & 0o7777 for path in root.rglob("*")}
    found.pop("lost+found", None)
    return found


def mounted_root(prepared: PreparedGroup, work: Path, stack: ExitStack) -> Path:
    mount = prepared.mounts[0]
    return stack.enter_context(mounted(mount.device, work, filesystem=mount.filesystem, options=mount.options))


def test_the_group_of_the_operating_system(filler: DiskPlugin, disk: Path, work: Path, tmp_path: Path) -> None:
    former = os.umask(0o077)
    try:
        with (
            filler.prepare_disks(group(home="/home", log="/var/log"), [disk], work, Session()) as prepared,
            ExitStack() as stack,
        ):
            (mount,) = prepared.mounts
            found = tags(mount.device)
            assert (found["TYPE"], found["LABEL"]) == (filler.name, "os")
            assert mount.source == f"UUID={found['UUID']}"
            assert prepared.kernel_arguments == (f"terra.uuid={found['UUID']}",)
            assert prepared.root == ""
            assert not list(work.iterdir())
            place = mounted_root(prepared, work, stack)
            assert place.stat().st_mode & 0o7777 == 0o755
            assert prepared.directories == ("/home", "/var/log")
            assert tree(place) == {}
            assert filler.verify_disks(group(), place, Session()) is True
    finally:
        os.umask(former)
    assert nothing_left(tmp_path)


def test_another_group_has_a_directory_for_each_subvolume(filler: DiskPlugin, disk: Path, work: Path, tmp_path: Path) -> None:
    wanted = group("data", luns="/iscsi", www="/srv/www/deep")
    with filler.prepare_disks(wanted, [disk], work, Session()) as prepared, ExitStack() as stack:
        assert prepared.kernel_arguments == ()
        assert [mount.path for mount in prepared.mounts] == ["/run/terra/groups/data", "/iscsi", "/srv/www/deep"]
        assert tree(mounted_root(prepared, work, stack)) == {"luns": 0o755, "www": 0o755}
    assert nothing_left(tmp_path)


def test_grub_and_the_check_read_what_was_written(filler: DiskPlugin, disk: Path, work: Path, tmp_path: Path) -> None:
    content = os.urandom(3 * MB)
    (tmp_path / "kernel").write_bytes(content)
    with filler.prepare_disks(group(), [disk], work, Session()) as prepared, ExitStack() as stack:
        place = mounted_root(prepared, work, stack) / "boot"
        place.mkdir()
        (place / "vmlinuz").write_bytes(content)
    run(["grub-fstest", disk, "cmp", "(loop0)/boot/vmlinuz", tmp_path / "kernel"])
    check = ["e2fsck", "-f", "-n"] if filler is plugin else ["xfs_repair", "-n"]
    run([*check, disk])


@pytest.mark.parametrize("much", [1, 2**21], ids=["least", "2 TiB"])
def test_sizes(filler: DiskPlugin, much: int, work: Path, tmp_path: Path) -> None:
    least = 16 if filler is plugin else 300
    disk = sparse(tmp_path / "sized.lun", max(least, much))
    with filler.prepare_disks(group(home="/home"), [disk], work, Session()) as prepared, ExitStack() as stack:
        (mounted_root(prepared, work, stack) / "file").write_bytes(bytes(MB))
    assert filler.check_disks(group(), [least * MB], Session()).capacity == least * MB
    small = sparse(tmp_path / "small.lun", least - 1)
    for_each = f"has {least - 1} MB, and {filler.name} needs at least {least} MB"
    with pytest.raises(TerraError, match=f"^/dev/sda: {for_each}"):
        filler.check_disks(group(), [(least - 1) * MB], Session())
    with pytest.raises(TerraError, match=f"^{small}: {for_each}"):
        filler.prepare_disks(group(), [small], work, Session()).__enter__()


def test_what_a_user_should_know_of_subvolumes(filler: DiskPlugin) -> None:
    notes = filler.check_disks(group(home="/home", log="/var/log"), [2**30], Session()).notes
    assert notes == (f"{filler.name} has no subvolumes: home, log will be directories of one file system",)
    assert filler.check_disks(group(), [2**30], Session()).notes == ()


def refused(filler: DiskPlugin, device: Path, file: Path, work: Path, error: type[TerraError], match: str) -> None:
    before = digest_of(file)
    with pytest.raises(error, match=match):
        filler.prepare_disks(group(), [device], work, Session()).__enter__()
    assert digest_of(file) == before


def test_options_of_another_file_system(filler: DiskPlugin, disk: Path, work: Path) -> None:
    wanted = group(options=("noatime", "ssd"))
    problem = f"""options: "ssd": {filler.name}: Unknown parameter 'ssd'"""
    with pytest.raises(ConfigError, match=problem):
        filler.check_disks(wanted, [2**30], Session())
    with pytest.raises(ConfigError, match=problem):
        filler.prepare_disks(wanted, [disk], work, Session())


def test_options_count_from_the_first_mount_on(filler: DiskPlugin, disk: Path, work: Path) -> None:
    own = "data=journal" if filler is plugin else "logbsize=64k"
    with filler.prepare_disks(group(options=("noatime", own)), [disk], work, Session()) as prepared, ExitStack() as stack:
        assert prepared.kernel_arguments[1:] == (f"rootflags=noatime,{own}",)
        mounted_root(prepared, work, stack)
        (line,) = [line for line in Path("/proc/self/mounts").read_text().splitlines() if f" {work} " in line]
        assert {"noatime", own} <= set(line.split()[3].split(","))


@pytest.mark.parametrize("tool", [["mkfs.ext4", "-q"], ["mkfs.xfs", "-q"], ["mkfs.btrfs", "-q"], ["mkswap"]])
def test_a_disk_that_holds_something(filler: DiskPlugin, tool: list[str], work: Path, tmp_path: Path) -> None:
    disk = sparse(tmp_path / "old.lun", SIZE["xfs"])
    run([*tool, disk])
    refused(filler, disk, disk, work, ConflictError, f"{disk}: is not blank: it holds (ext4|xfs|btrfs|swap)")
    run(["wipefs", "--quiet", "--all", disk])
    with filler.prepare_disks(group(), [disk], work, Session()):
        pass


def test_a_disk_that_is_none_or_in_use(filler: DiskPlugin, disk: Path, work: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="none: there is no such device or file"):
        filler.prepare_disks(group(), [tmp_path / "none"], work, Session()).__enter__()
    place = tmp_path / "place"
    place.mkdir()
    run(["mkfs.ext4", "-q", disk])
    with loop_device(disk) as device, mounted(device, place, filesystem="ext4"):
        refused(filler, device, disk, work, ConflictError, f"{device}: is in use, mounted at {place}")


def test_several_machines_at_once(filler: DiskPlugin, tmp_path: Path) -> None:
    def prepare(number: int) -> str:
        place = tmp_path / f"machine-{number}"
        (place / "work").mkdir(parents=True)
        disk = sparse(place / "0.lun", SIZE[filler.name])
        with filler.prepare_disks(group(home="/home"), [disk], place / "work", Session()) as prepared, ExitStack() as stack:
            (mounted_root(prepared, place / "work", stack) / "number").write_text(str(number))
            return prepared.mounts[0].source

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(prepare, range(5)))) == 5
    assert nothing_left(tmp_path)


def test_an_ext4_disk_that_met_an_error(work: Path, tmp_path: Path) -> None:
    disk = sparse(tmp_path / "0.lun", SIZE["ext4"])
    with plugin.prepare_disks(group(), [disk], work, Session()) as prepared, ExitStack() as stack:
        place, device = mounted_root(prepared, work, stack), prepared.mounts[0].device
        Path(f"/sys/fs/ext4/{device.name}/trigger_fs_error").write_text("a test's own")
        with pytest.raises(
            TerraError, match=f'^group "os": {device}: errors that ext4 has met: 1, the first in trigger_test_error'
        ):
            plugin.verify_disks(group(), place, Session())
        with pytest.raises(OSError, match="Read-only file system"):
            (place / "file").touch()


def test_an_xfs_disk_that_shut_down(work: Path, tmp_path: Path) -> None:
    disk = sparse(tmp_path / "0.lun", SIZE["xfs"])
    with xfs.prepare_disks(group(), [disk], work, Session()) as prepared, ExitStack() as stack:
        place, device = mounted_root(prepared, work, stack), prepared.mounts[0].device
        run(["xfs_io", "-x", "-c", "shutdown", place])
        with pytest.raises(TerraError, match=f'^group "os": {device}: takes no writes any more: Input/output error'):
            xfs.verify_disks(group(), place, Session())


def test_a_full_disk_is_no_broken_one(filler: DiskPlugin, disk: Path, work: Path) -> None:
    with filler.prepare_disks(group(), [disk], work, Session()) as prepared, ExitStack() as stack:
        place = mounted_root(prepared, work, stack)
        with suppress(OSError), (place / "all").open("wb", buffering=0) as file:
            while file.write(bytes(MB)):
                pass
        assert os.statvfs(place).f_bavail * 4096 < MB
        assert filler.verify_disks(group(), place, Session()) is True
