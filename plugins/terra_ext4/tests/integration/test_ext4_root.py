"""The step that mounts the root when a machine starts, run by sh, with real disks and the words of a kernel line."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.disks import sparse
from terra_core.config.node import DiskGroup
from terra_core.config.session import Session
from terra_core.config.structure import structure
from terra_core.system.mounts import loop_device, mounted, sweep
from terra_core.system.process import run
from terra_ext4 import DiskPlugin, plugin, xfs

_AROUND = """\
terra_word() {
	case "$1" in
	terra.uuid) echo "$uuid" ;;
	fsck.repair) echo "$repair" ;;
	version) echo "${version:-$2}" ;;
	terra.subvol) echo "$subvol" ;;
	esac
}
panic() { echo "panic: $*"; [ -n "$by_hand" ] || exit 0; $by_hand "$device"; }
local_device_setup() { echo "device $1"; DEV="$device"; }
local_premount() { echo premount; }
fastboot=n forcefsck=n fsckfix=n repair= version= subvol=os readonly=y ROOTFLAGS=
"""
_GROUP = structure({"label": "os", "disk": [{"device": "/dev/sda"}]}, DiskGroup)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "root"
    place.mkdir()
    yield place
    sweep(tmp_path, tmp_path)


def made(filler: DiskPlugin, directory: Path) -> Path:
    disk = sparse(directory / "0.lun", 64 if filler is plugin else 320)
    work = directory / "work"
    work.mkdir()
    with filler.prepare_disks(_GROUP, [disk], work, Session()):
        pass
    return disk


def started(filler: DiskPlugin, disk: Path, root: Path, *, after: str = ":", **variables: str) -> list[str]:
    """Return the output of a machine that starts with a disk as its root, with the options of its mount as the last line.

    :param after: what it does when its root is mounted.
    """
    step = filler.mount_root(_GROUP, Session())
    with loop_device(disk) as device:
        given = {
            "uuid": "1234",
            "by_hand": "",
            "device": str(device),
            "rootmnt": str(root),
            "stamps": str(root.parent / "stamps"),
        }
        words = "".join(f"{name}='{value}'\n" for name, value in (given | variables).items())
        # What marks a check as done is the machine's, and this machine has a /run of its own.
        script = step.script.replace("/run/initramfs", "$stamps").replace("/run/terra", "$stamps.terra")
        end = f"mountpoint -q {root} || exit 0\n{after}\ngrep ' {root} ' /proc/self/mounts\numount {root}\n"
        return run(["sh", "-c", f"{_AROUND}{words}{script}{end}"]).text.splitlines()


def is_marked(root: Path) -> bool:
    return (root.parent / "stamps/fsck-root").exists()


@pytest.mark.parametrize("filler", [plugin, xfs], ids=["ext4", "xfs"])
@pytest.mark.parametrize(("readonly", "access"), [("y", "ro"), ("n", "rw")])
def test_the_root_is_mounted_as_the_kernel_line_says(
    filler: DiskPlugin, readonly: str, access: str, root: Path, tmp_path: Path
) -> None:
    said = started(filler, made(filler, tmp_path), root, readonly=readonly, ROOTFLAGS="-o noatime")
    assert said[:2] == ["device UUID=1234", "premount"]
    _, place, kind, options, *_ = said[-1].split()
    assert (place, kind) == (str(root), filler.name)
    assert {access, "noatime"} <= set(options.split(","))
    assert is_marked(root) == (filler is plugin)


def test_a_kernel_line_without_a_file_system(root: Path, tmp_path: Path) -> None:
    said = started(plugin, made(plugin, tmp_path), root, uuid="")
    assert said == ["panic: the kernel line has no terra.uuid=, which says what file system the root is"]


def marked_by(root: Path, filler: DiskPlugin, disk: Path, **variables: str) -> str:
    """Start a machine from a disk whose roots each say which they are; return what its root says, and look at the mounts."""
    place = root.parent / "written"
    place.mkdir(exist_ok=True)
    with loop_device(disk) as device, mounted(device, place, filesystem=filler.name) as top:
        for name in ("os", "os.1", "."):
            (top / name).mkdir(exist_ok=True)
            (top / name / "name").write_text(f"{name}\n")
        (top / "link").unlink(missing_ok=True)
        (top / "link").symlink_to("os")
    after = f"cat {root}/name\ngrep -c {root.parent}/stamps.terra /proc/self/mounts"
    return " ".join(started(filler, disk, root, after=after, **variables)[-3:-1])


@pytest.mark.parametrize("filler", [plugin, xfs], ids=["ext4", "xfs"])
def test_the_root_is_the_directory_of_the_version(filler: DiskPlugin, root: Path, tmp_path: Path) -> None:
    disk = made(filler, tmp_path)
    assert marked_by(root, filler, disk) == "os 0", "and nothing else of it stays mounted"
    assert marked_by(root, filler, disk, version="os.1") == "os.1 0"
    assert marked_by(root, filler, disk, subvol="") == ". 0", "as an earlier Terra made it"
    for wrong in ("os.2", "link"):
        said = started(filler, disk, root, version=wrong)
        assert said[-1] == f"panic: no directory {wrong} on the file system 1234"


@pytest.mark.parametrize("filler", [plugin, xfs], ids=["ext4", "xfs"])
def test_a_root_that_starts_read_only_can_be_written_later_like_all_of_its_file_system(
    filler: DiskPlugin, root: Path, tmp_path: Path
) -> None:
    disk = made(filler, tmp_path)
    place, fstab = root.parent / "whole", root.parent / "fstab"
    place.mkdir()
    fstab.write_text(f"$device {root} {filler.name} noatime 0 0\n")
    later = (
        f"! touch {root}/file 2> /dev/null || echo too early\n"
        f"sed s,.device,$device, {fstab} > {fstab}.own; mount --fstab {fstab}.own -o remount {root} && touch {root}/file\n"
        f"mount -t {filler.name} $device {place} && touch {place}/os/other && umount {place}"
    )
    said = started(filler, disk, root, after=later)
    assert "too early" not in said
    assert {"rw", "noatime"} <= set(said[-1].split()[3].split(","))


@pytest.mark.parametrize("filler", [plugin, xfs], ids=["ext4", "xfs"])
def test_what_cannot_be_mounted_is_said(filler: DiskPlugin, root: Path, tmp_path: Path) -> None:
    said = started(filler, made(filler, tmp_path), root, ROOTFLAGS="-o paper")
    assert said[-1].startswith("panic: the file system 1234 on /dev/loop")
    assert said[-1].endswith(f" cannot be mounted as {filler.name}")


def test_small_faults_are_mended(root: Path, tmp_path: Path) -> None:
    disk = made(plugin, tmp_path)
    run(["debugfs", "-w", "-R", "set_super_value state 2", disk])
    run(["debugfs", "-w", "-R", "set_super_value free_blocks_count 7", disk])
    said = started(plugin, disk, root)
    assert any("file system with errors, check forced" in line for line in said)
    assert said[-1].split()[1] == str(root)
    assert is_marked(root)
    run(["e2fsck", "-f", "-n", disk])


@pytest.mark.parametrize(("by_hand", "mended"), [("e2fsck -y", True), ("", False)])
def test_large_ones_are_left_to_a_person(by_hand: str, mended: bool, root: Path, tmp_path: Path) -> None:
    disk = made(plugin, tmp_path)
    run(["debugfs", "-w", "-R", "clri <2>", disk])
    run(["debugfs", "-w", "-R", "set_super_value state 2", disk])
    # Nothing at the top has a name any more then; a root that is all of the file system is mounted all the same.
    said = started(plugin, disk, root, by_hand=by_hand, subvol="")
    assert " ".join(said).count("panic: ") == 1
    assert any("panic: the file system on /dev/loop" in line and "mended by hand: e2fsck /dev/loop" in line for line in said)
    assert (said[-1].split()[1] == str(root)) is mended


@pytest.mark.parametrize(
    ("variables", "checked", "marked"),
    [
        ({"fastboot": "y"}, "", False),
        ({"forcefsck": "y"}, "non-contiguous", True),
        ({"fsckfix": "y", "forcefsck": "y"}, "Pass 5", True),
        ({"repair": "no", "forcefsck": "y"}, "Pass 5", True),
        ({}, "clean", True),
    ],
)
def test_the_check_is_what_the_kernel_line_says(
    variables: dict[str, str], checked: str, marked: bool, root: Path, tmp_path: Path
) -> None:
    said = started(plugin, made(plugin, tmp_path), root, **variables)
    assert checked in " ".join(said)
    assert bool(checked) == any("files" in line for line in said)
    assert is_marked(root) is marked


@pytest.mark.parametrize("filler", [plugin, xfs], ids=["ext4", "xfs"])
def test_nobody_but_root_reaches_other_versions_by_their_top(filler: DiskPlugin, tmp_path: Path) -> None:
    """All of the file system is mounted at a place of the machine, with the programs of every version."""
    disk, place = made(filler, tmp_path), tmp_path / "top"
    place.mkdir()
    with loop_device(disk) as device, mounted(device, place, filesystem=filler.name) as top:
        assert stat.S_IMODE(top.stat().st_mode) == 0o700
        top.chmod(0o755)  # as an earlier Terra made it
        (top / "os/file").touch()
        filler.copy_root(top / "os", top / "os.1", "", Session())
        assert stat.S_IMODE(top.stat().st_mode) == 0o700
        assert stat.S_IMODE((top / "os.1").stat().st_mode) == 0o755
