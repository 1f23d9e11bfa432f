"""A machine's disk that is a file on a disk that gets full: it is said, and which."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from lab.disks import MB, sparse
from terra_core.config.loader import make_document
from terra_core.config.node import OS_LABEL, Node
from terra_core.config.session import Session
from terra_core.deploy import mounted_system
from terra_core.errors import TerraError
from terra_core.oci import Layout
from terra_core.plugins import Plugins
from terra_core.system.mounts import loop_device, loop_devices, mounted
from terra_core.system.process import run
from terra_core.system.progress import Event
from tests.integration.install.grounds import SYSTEM
from tests.unit.oci.making import LayoutMaker, file, folder, tar

_NODE = {
    "hostname": "cm-01",
    "image": "registry.example.com/tiny:1",
    "groups": [{"label": "os", "disk": [{"device": "/dev/sda"}], "subvolumes": [{"name": "home", "path": "/home"}]}],
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Path]:
    """Make a directory for disks, on a disk of 48 MB."""
    place = tmp_path / "store"
    place.mkdir()
    image = sparse(tmp_path / "store.img", 48)
    run(["mkfs.ext4", "-q", "-m", "0", image])
    with loop_device(image) as device, mounted(device, place, filesystem="ext4"):
        yield place


@pytest.mark.parametrize("slow", [False, True], ids=["at the end", "while it is written"])
def test_a_full_store_is_named_with_the_disk_that_is_in_it(slow: bool, store: Path, tmp_path: Path) -> None:
    much = tuple(file(b"usr/%d" % number, Random(number).randbytes(MB)) for number in range(100))  # noqa: S311  # no secret
    LayoutMaker(tmp_path / "layout").image([tar(*SYSTEM, folder(b"usr"), *much)])

    def listen(event: Event) -> None:
        if slow:
            os.sync()  # as the kernel does by itself when an image comes slowly

    with pytest.raises(TerraError) as told:
        lay_down(store, tmp_path, Session(report=listen))
    assert told.value.message == f"{store / '0.lun'}: the disk that it is on is full"
    assert ".terra-" not in str(told.value)


def test_a_store_without_any_room(store: Path, tmp_path: Path) -> None:
    LayoutMaker(tmp_path / "layout").image([tar(*SYSTEM)])
    with suppress(OSError), (store / "others").open("wb", buffering=0) as others:
        while others.write(bytes(4096)):
            pass
    with pytest.raises(TerraError) as told:
        lay_down(store, tmp_path, Session())
    assert told.value.message == f"{store / '0.lun'}: the disk that it is on is full"


def test_another_error_is_told_as_it_is(store: Path, tmp_path: Path) -> None:
    with pytest.raises(TerraError, match="layout") as told:
        lay_down(store, tmp_path, Session())
    assert "full" not in str(told.value)


def lay_down(store: Path, directory: Path, session: Session) -> None:
    """Lay the image of the layout down on a disk in the store."""
    work = directory / "work"
    work.mkdir()
    node = make_document(_NODE, Node, source="node.toml").value
    lun = sparse(store / "0.lun", 300)
    try:
        with mounted_system(node, {OS_LABEL: [lun]}, plugins=Plugins.discover(), session=session, work=work) as system:
            system.lay_down(Layout(directory / "layout").image())
            system.sync()
    finally:
        assert not any(device.holds(lun) for device in loop_devices())
        lun.unlink()
