"""Roots beside each other in a btrfs file system, with what users of a machine make within them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from terra_btrfs import plugin
from terra_core.config.session import Session
from terra_core.system.mounts import loop_device, mounted
from terra_core.system.process import run

MB = 1024 * 1024


def test_a_root_goes_with_all_subvolumes_that_were_made_within_it(tmp_path: Path) -> None:
    image, top = tmp_path / "image", tmp_path / "top"
    top.mkdir()
    with image.open("wb") as file:
        file.truncate(256 * MB)
    run(["mkfs.btrfs", "-q", image])
    with loop_device(image) as device, mounted(device, top, filesystem="btrfs", options=("subvolid=5",)):
        for name in ("os", "os.1", "home"):
            run(["btrfs", "subvolume", "create", top / name])
        (top / "os.1/var/tmp").mkdir(parents=True)
        strange = "a\nID 257 gen 8 top level 5 path os"
        for name in ("var/machines", "var/machines/one", "var/machines/one/deep", f"var/tmp/{strange}"):
            run(["btrfs", "subvolume", "create", top / "os.1" / name])
        for at in range(100):
            run(["btrfs", "subvolume", "create", top / f"os.1/var/tmp/{at}"])
        run(["btrfs", "subvolume", "create", top / "os/within"])
        (top / "os.1/var/machines/one/deep/file").write_text("data")
        place = top / "os.1/var/machines/one/deep"
        descriptor = os.open(place, os.O_RDONLY)
        for _ in range(20):
            os.mkdir("x" * 250, dir_fd=descriptor)
            below = os.open("x" * 250, os.O_RDONLY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        os.close(descriptor)
        assert plugin.remove_root(top / "os.1", Session()) is True
        assert sorted(path.name for path in top.iterdir()) == ["home", "os"]
        assert (top / "os/within").is_dir()


def test_a_root_is_removed_where_neither_data_nor_metadata_has_room(tmp_path: Path) -> None:
    """The kernel keeps a reserve of metadata for what gives room back, and this holds it to that."""
    image, top = tmp_path / "image", tmp_path / "top"
    top.mkdir()
    with image.open("wb") as file:
        file.truncate(128 * MB)
    run(["mkfs.btrfs", "-q", image])
    with loop_device(image) as device, mounted(device, top, filesystem="btrfs", options=("subvolid=5",)):
        run(["btrfs", "subvolume", "create", top / "os"])
        for at in range(200):
            (top / f"os/{at}").write_bytes(os.urandom(1500))
        run(["btrfs", "subvolume", "snapshot", top / "os", top / "new"])
        with suppress(OSError), (top / "os/all").open("wb", buffering=0) as file:
            while file.write(os.urandom(MB)):
                pass
        with pytest.raises(OSError, match="No space left on device"):
            write_small_files(top / "new")
        for at in range(0, 200, 2):
            (top / f"new/{at}").unlink()
        assert plugin.remove_root(top / "new", Session()) is True
        assert [path.name for path in top.iterdir()] == ["os"]


def write_small_files(directory: Path) -> None:
    """Write files whose content is metadata, until one cannot be written."""
    for at in range(10**6):
        (directory / f"further-{at}").write_bytes(os.urandom(1500))
