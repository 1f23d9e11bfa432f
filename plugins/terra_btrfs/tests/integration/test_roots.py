"""Roots beside each other in a btrfs file system, with what users of a machine make within them."""

from __future__ import annotations

import os
from pathlib import Path

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
