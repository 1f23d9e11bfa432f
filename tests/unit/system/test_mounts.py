"""What the kernel and losetup say of mounts and loop devices."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from terra_core.system.mounts import LoopDevice, MountPoint, parse_loop_devices, parse_mounts

MOUNTINFO = r"""24 30 0:22 / /proc rw,nosuid,nodev,noexec,relatime shared:13 - proc proc rw
96 30 7:0 /os /run/terra/a\040b/os rw,relatime shared:50 master:1 - btrfs /dev/loop0 rw,space_cache=v2,subvol=/os
97 30 0:45 / /mnt/back\134slash rw - tmpfs none rw
98 30 0:4 net:[4026532300] /run/netns/x rw - nsfs nsfs rw
"""

LOOPS = """{
   "loopdevices": [
      {"name": "/dev/loop0", "back-file": "/iscsi/cm-01/0.lun", "back-maj:min": " 0:45", "back-ino": 257},
      {"name": "/dev/loop7", "back-file": "/iscsi/cm-02/0.lun (deleted)"},
      {"name": "/dev/loop8", "back-file": null}
   ]
}"""


def test_mount_points_are_read_with_their_escapes() -> None:
    assert parse_mounts(MOUNTINFO) == [
        MountPoint(Path("/proc"), "0:22", "proc"),
        MountPoint(Path("/run/terra/a b/os"), "7:0", "/dev/loop0"),
        MountPoint(Path("/mnt/back\\slash"), "0:45", "none"),
        MountPoint(Path("/run/netns/x"), "0:4", "nsfs"),
    ]


@pytest.mark.parametrize("letter", ["\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\udcff"])
def test_somebody_elses_mount_may_have_any_name(letter: str) -> None:
    line = f"30 28 0:45 / /mnt/a{letter}b rw - tmpfs none rw\n"
    assert parse_mounts(MOUNTINFO + line)[-1] == MountPoint(Path(f"/mnt/a{letter}b"), "0:45", "none")


def test_a_loop_device_of_a_removed_file_is_known_by_the_name_it_had() -> None:
    assert parse_loop_devices(LOOPS) == [
        LoopDevice(Path("/dev/loop0"), Path("/iscsi/cm-01/0.lun"), "0:45", 257),
        LoopDevice(Path("/dev/loop7"), Path("/iscsi/cm-02/0.lun")),
    ]


def test_no_loop_devices_at_all() -> None:
    assert parse_loop_devices("") == []
    assert parse_loop_devices('{"loopdevices": []}') == []


def test_a_file_is_known_by_what_it_is_and_not_by_its_name(tmp_path: Path) -> None:
    first, second = tmp_path / "0.lun", tmp_path / "1.lun"
    first.touch()
    second.touch()
    status = first.stat()
    device = LoopDevice(Path("/dev/loop0"), second, f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}", status.st_ino)
    assert device.holds(first)
    assert not device.holds(second)
    assert not device.holds(tmp_path / "none")
