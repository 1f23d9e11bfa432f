"""Disk groups of one disk on real loop devices, read by GRUB's own drivers and by the file system checks."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from attrs import evolve

from lab.disks import MB, digest_of, sparse
from terra_core.config.node import DiskGroup
from terra_core.config.session import Session
from terra_core.config.structure import structure
from terra_core.errors import ConfigError, ConflictError, NotFoundError, TerraError
from terra_core.hookspecs import PreparedGroup
from terra_core.mounting import mount_device
from terra_core.system.mounts import directory_mounted, loop_device, loop_devices, mount_points, mounted, sweep
from terra_core.system.process import run
from terra_core.versions.manifest import NO_MARK, make_manifest
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
    return stack.enter_context(mount_device(prepared.mounts[0], work))


def test_the_group_of_the_operating_system(filler: DiskPlugin, disk: Path, work: Path, tmp_path: Path) -> None:
    former = os.umask(0o077)
    try:
        with (
            filler.prepare_disks(group(home="/home", log="/var/log"), [disk], work, Session()) as prepared,
            ExitStack() as stack,
        ):
            mount = prepared.mounts[0]
            found = tags(mount.device)
            assert (found["TYPE"], found["LABEL"]) == (filler.name, "os")
            assert mount.source == f"UUID={found['UUID']}"
            assert prepared.kernel_arguments == (f"terra.uuid={found['UUID']}", "terra.subvol=os")
            assert [one.path for one in prepared.mounts] == ["/", "/run/terra/groups/os", "/home", "/var/log"]
            assert (prepared.root, prepared.directories) == ("os", ())
            assert not list(work.iterdir())
            place = mounted_root(prepared, work, stack)
            assert place.stat().st_mode & 0o7777 == 0o755
            assert tree(place) == {}
            assert filler.verify_disks(group(), place, Session()) is True
            whole = tmp_path / "whole"
            whole.mkdir(mode=0o755)
            with mounted(mount.device, whole, filesystem=mount.filesystem):
                assert tree(whole) == {"os": 0o755, "home": 0o755, "log": 0o755, ".terra": 0o700}
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
    run(["grub-fstest", disk, "cmp", "(loop0)/os/boot/vmlinuz", tmp_path / "kernel"])
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
        assert prepared.kernel_arguments[1:] == ("terra.subvol=os", f"rootflags=noatime,{own}")
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


def as_before(filler: DiskPlugin, disk: Path, work: Path) -> None:
    """Make the group of the operating system as an earlier Terra did: the root is all of it."""
    with filler.prepare_disks(group(home="/home"), [disk], work, Session()) as prepared, ExitStack() as stack:
        mount = prepared.mounts[0]
        top = stack.enter_context(mounted(mount.device, work, filesystem=mount.filesystem))
        for name in ("os", ".terra", "home"):
            (top / name).rmdir()
        (top / "etc/deep").mkdir(parents=True)


def test_a_copy_of_what_an_earlier_terra_made_is_mounted_as_that_was(filler: DiskPlugin, disk: Path, work: Path) -> None:
    as_before(filler, disk, work)
    with filler.renew_identity(group(home="/home"), [disk], work, Session()) as prepared:
        assert ([one.path for one in prepared.mounts], prepared.root) == (["/"], "")
        assert (prepared.mounts[0].directory, prepared.directories) == ("", ("/home",))
        assert [word for word in prepared.kernel_arguments if not word.startswith("terra.uuid=")] == []


def test_a_root_that_is_all_of_its_file_system_has_none_beside_it(
    filler: DiskPlugin, disk: Path, work: Path, tmp_path: Path
) -> None:
    as_before(filler, disk, work)
    place = tmp_path / "root"
    place.mkdir()
    deep = place / "etc/deep"
    with loop_device(disk) as device, mounted(device, place, filesystem=filler.name):
        with filler.open_roots(place, work, Session()) as roots:
            assert (dict(roots.places), roots.running, roots.top) == ({"os": place}, "os", None)
        with pytest.raises(TerraError, match="is no directory at the top"), filler.open_roots(deep, work, Session()):
            raise AssertionError("it is no root")


def test_roots_lie_beside_a_root_that_is_for_reading(filler: DiskPlugin, disk: Path, work: Path, tmp_path: Path) -> None:
    with filler.prepare_disks(group(), [disk], work, Session()):
        pass
    place = tmp_path / "root"
    place.mkdir()
    with (
        loop_device(disk) as device,
        directory_mounted(device, "os", place, filesystem=filler.name, options=("ro",)),
        filler.open_roots(place, work, Session()) as roots,
    ):
        assert (roots.running, roots.shares) == ("os", filler is xfs)
        assert roots.top is not None
        with pytest.raises(OSError, match="Read-only file system"):
            (roots.top / "file").touch()


@pytest.fixture
def top(filler: DiskPlugin, work: Path, tmp_path: Path) -> Iterator[Path]:
    """Return the top of a file system with a root in it that has a bit of everything."""
    disk = sparse(tmp_path / "roots.lun", 320)
    place = tmp_path / "root"
    place.mkdir()
    with filler.prepare_disks(group(), [disk], work, Session()) as prepared, ExitStack() as stack:
        root = stack.enter_context(mount_device(prepared.mounts[0], place))
        everything(root)
        roots = stack.enter_context(filler.open_roots(root, work, Session()))
        assert roots.top is not None
        yield roots.top
    assert nothing_left(tmp_path)


def everything(root: Path) -> None:
    (root / "large").write_bytes(os.urandom(8 * MB))
    (root / "large").chmod(0o4755)
    os.chown(root / "large", 7, 8)
    os.setxattr(root / "large", "trusted.terra", b"kept")
    (root / "usr").mkdir(mode=0o711)
    (root / "usr/other").hardlink_to(root / "large")
    (root / "usr/link").symlink_to("/nowhere")
    os.mkfifo(root / "usr/pipe")
    os.mknod(root / "usr/null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    with (root / "sparse").open("wb") as file:
        file.truncate(64 * MB)
    os.utime(root / "usr", ns=(1, 10**18 + 7))
    root.chmod(0o751)
    os.setxattr(root, "user.terra", b"of the root")


def test_a_copy_of_a_root_is_faithful_and_shares_what_it_can(filler: DiskPlugin, top: Path) -> None:
    before = os.statvfs(top)
    assert filler.copy_root(top / "os", top / "os.1", "", Session()) is True
    run(["sync", "--file-system", top])
    taken = (before.f_bfree - os.statvfs(top).f_bfree) * before.f_frsize
    assert taken < MB if filler is xfs else 8 * MB <= taken < 9 * MB
    former, new = make_manifest(top / "os", left_out=""), make_manifest(top / "os.1", left_out="")
    assert {path: evolve(one, mark=NO_MARK) for path, one in new.items()} == {
        path: evolve(one, mark=NO_MARK) for path, one in former.items()
    }
    for path in ("", "usr", "large"):
        assert (top / "os.1" / path).stat().st_mtime_ns == (top / "os" / path).stat().st_mtime_ns
    assert (top / "os.1/usr/other").samefile(top / "os.1/large")
    assert not (top / "os.1/large").samefile(top / "os/large")


def test_a_root_is_removed_whole_whatever_is_in_it(filler: DiskPlugin, top: Path, tmp_path: Path) -> None:
    filler.copy_root(top / "os", top / "os.1", "usr", Session())
    assert not (top / "os.1/usr").exists()
    run(["chattr", "+i", top / "os.1/large"])
    (top / ".terra/removed/half").mkdir(parents=True)
    (top / ".terra/removed/half/etc").touch()
    assert filler.remove_root(top / "os.1", Session()) is True
    assert sorted(path.name for path in top.iterdir() if path.name != "lost+found") == [".terra", "os"]
    assert [*(top / ".terra/removed").iterdir()] == [], "what a killed removal left is gone as well"
    with pytest.raises(TerraError, match="is in no file system that has roots"):
        filler.remove_root(tmp_path / "none", Session())


def test_a_copy_that_has_no_room_leaves_nothing(top: Path, filler: DiskPlugin) -> None:
    if filler is xfs:  # which shares the blocks
        return
    with suppress(OSError), (top / "os/all").open("wb", buffering=0) as file:
        while file.write(bytes(MB)):
            pass
    with pytest.raises(TerraError, match="No space left on device"):
        filler.copy_root(top / "os", top / "os.1", "", Session())
    assert not (top / "os.1").exists()
    assert [*(top / ".terra/removed").iterdir()] == []


def test_a_root_is_removed_where_the_disk_has_no_room_for_a_directory(filler: DiskPlugin, top: Path) -> None:
    """What makes room again must not need any."""
    filler.copy_root(top / "os", top / "os.1", "", Session())
    with filled(top / "os"):
        with pytest.raises(OSError, match="No space left on device"):
            (top / ".terra/other").mkdir()
        assert filler.remove_root(top / "os.1", Session()) is True
        assert not (top / "os.1").exists()
        assert [*(top / ".terra").rglob("*")] == [top / ".terra/removed"]
    filler.copy_root(top / "os", top / "os.1", "", Session())
    assert filler.remove_root(top / "os.1", Session()) is True


@contextmanager
def filled(directory: Path) -> Iterator[None]:
    """Fill a file system for the time of a block: its blocks, and what inodes there are for further files."""
    place, number = directory / "full", 0
    place.mkdir()
    with suppress(OSError), (place / "all").open("wb", buffering=0) as file:
        while file.write(bytes(MB)):
            pass
    with suppress(OSError):
        while True:
            (place / f"{number}{'x' * 200}").write_bytes(b"x")
            number += 1
    with suppress(OSError):
        while True:
            (place / f"directory-{number}").mkdir()
            number += 1
    try:
        yield
    finally:
        shutil.rmtree(place)
