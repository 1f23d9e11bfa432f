"""Disks that are about to be formatted: real loop devices, mounts and swap that stand against it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from lab.disks import MB, sparse
from terra_core.errors import ConflictError, NotFoundError, TerraError
from terra_core.system.formatting import attached, examine, require_blank
from terra_core.system.mounts import loop_device, loop_devices, mounted
from terra_core.system.process import run


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return sparse(tmp_path / "0.lun", 64)


def refused(devices: Sequence[Path], error: type[TerraError], match: str) -> None:
    with pytest.raises(error, match=match):
        require_blank(examine(devices))


def test_disks_that_are_none(image: Path, tmp_path: Path) -> None:
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "gone")
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    refused([image, tmp_path / "none"], NotFoundError, "none: there is no such device or file")
    refused([image, dangling], NotFoundError, "dangling: there is no such device or file")
    refused([image, loop], TerraError, "loop: ")
    refused([image, tmp_path], TerraError, "is neither a block device nor an image file")
    refused([image, Path("/dev/null")], TerraError, "is neither a block device nor an image file")


def test_one_disk_with_two_names(image: Path, tmp_path: Path) -> None:
    soft, hard = tmp_path / "soft", tmp_path / "hard"
    soft.symlink_to(image)
    hard.hardlink_to(image)
    refused([image, soft], ConflictError, f"{soft}: is the same disk as {image}")
    refused([hard, image], ConflictError, f"{image}: is the same disk as {hard}")
    with loop_device(image) as device:
        node = tmp_path / "node"
        os.mknod(node, 0o060600, device.stat().st_rdev)
        refused([device, node], ConflictError, f"{node}: is the same disk as {device}")


def test_a_mounted_disk(image: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    run(["mkfs.ext4", "-q", image])
    with loop_device(image) as device, mounted(device, place, filesystem="ext4"):
        refused([device], ConflictError, f"{device}: is in use, mounted at {place}")
        refused([sparse(tmp_path / "1.lun", 64), image], ConflictError, f"{image}: is attached to {device}, mounted at {place}")


def test_swap(image: Path) -> None:
    image.write_bytes(bytes(64 * MB))
    image.chmod(0o600)
    run(["mkswap", image])
    with loop_device(image) as device:
        run(["swapon", device])
        try:
            refused([device], ConflictError, f"{device}: is used as swap")
        finally:
            run(["swapoff", device])


def test_a_partition_table(image: Path) -> None:
    linux_from_1_mb = bytes([0, 0, 2, 0, 0x83, 0, 2, 0]) + (2048).to_bytes(4, "little") + (4096).to_bytes(4, "little")
    with image.open("r+b") as file:
        file.seek(446)
        file.write(linux_from_1_mb + bytes(48) + b"\x55\xaa")
    refused([image], ConflictError, "it holds dos")


def test_images_are_attached_and_block_devices_taken_as_they_are(image: Path, tmp_path: Path) -> None:
    other = sparse(tmp_path / "1.lun", 64)
    with loop_device(image) as device:
        link = tmp_path / "by-id"
        link.symlink_to(device)
        with attached(examine([link, other])) as (first, second):
            assert first == device
            assert [one.path for one in loop_devices() if one.file == other] == [second]
        assert not [one for one in loop_devices() if one.file == other]
        assert device in [one.path for one in loop_devices()]
