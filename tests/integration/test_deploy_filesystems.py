"""An image laid down on disks of several filesystem plugins at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.disks import sparse
from terra_core.config.loader import make_document
from terra_core.config.node import Node
from terra_core.config.session import Session
from terra_core.deploy import mounted_system
from terra_core.oci.layout import Layout
from terra_core.plugins import Plugins
from terra_core.system.mounts import loop_device, loop_devices, mounted
from terra_core.system.process import run
from tests.integration.install.grounds import SYSTEM
from tests.unit.oci.making import LayoutMaker, file, folder, symlink, tar

_NODE = {
    "hostname": "cm-01",
    "image": "registry.example.com/tiny:1",
    "plugins": {"filesystem": "ext4"},
    "groups": [
        {
            "label": "os",
            "disk": [{"device": "/dev/sda"}],
            "options": ["noatime"],
            "subvolumes": [
                {"name": "home", "path": "/home"},
                {"name": "cache", "path": "/var/cache/apt"},
                {"name": "found", "path": "/lost+found/@x:y"},
                {"name": "data", "path": "/opt/data"},
            ],
        },
        {
            "label": "data",
            "filesystem": "xfs",
            "disk": [{"device": "/dev/sdb"}],
            "subvolumes": [{"name": "luns", "path": "/iscsi"}, {"name": "www", "path": "/srv/www"}],
        },
        {
            "label": "logs",
            "filesystem": "btrfs",
            "disk": [{"device": "/dev/sdc"}],
            "subvolumes": [{"name": "log", "path": "/var/log"}],
        },
    ],
}
_IMAGE = tar(
    *SYSTEM,
    folder(b"home"),
    folder(b"home/terra", mode=0o700),
    file(b"home/terra/key", b"secret"),
    folder(b"iscsi", mode=0o750),
    file(b"iscsi/0.lun", b"lun"),
    folder(b"var"),
    folder(b"var/log"),
    file(b"var/log/dpkg.log", b"log"),
    folder(b"usr/local"),
    symlink(b"opt", b"usr/local"),
)


@pytest.fixture
def disks(tmp_path: Path) -> dict[str, Path]:
    sizes = {"os": 128, "data": 320, "logs": 200}
    return {label: sparse(tmp_path / f"{label}.lun", size) for label, size in sizes.items()}


@contextmanager
def opened(disk: Path, kind: str, place: Path, *options: str) -> Iterator[Path]:
    place.mkdir(exist_ok=True)
    with loop_device(disk) as device, mounted(device, place, filesystem=kind, options=("ro", *options)):
        yield place


def test_each_file_is_on_the_disk_that_it_belongs_to(disks: dict[str, Path], tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    LayoutMaker(tmp_path / "layout").image([_IMAGE])
    node = make_document(_NODE, Node, source="node.toml").value
    lists = {label: [disk] for label, disk in disks.items()}
    session = Session(source="node.toml")
    places = {"/opt/data": "/usr/local/data"}  # as a look at the image finds
    former = os.umask(0o077)
    try:
        with mounted_system(node, lists, plugins=Plugins.discover(), session=session, work=work, places=places) as system:
            system.lay_down(Layout(tmp_path / "layout").image())
            system.sync()
    finally:
        os.umask(former)
    assert not [device for device in loop_devices() if device.file in disks.values()]
    uuid = {
        label: run(["blkid", "--probe", "--match-tag", "UUID", "--output", "value", disk]).text.strip()
        for label, disk in disks.items()
    }
    assert system.kernel_arguments == ("boot=terra", f"terra.uuid={uuid['os']}", "terra.subvol=os", "rootflags=noatime")
    with opened(disks["os"], "ext4", tmp_path / "os") as top:
        root = top / "os"
        assert (top / "home/terra/key").read_text() == "secret"
        assert (top / "home/terra").stat().st_mode & 0o7777 == 0o700
        assert not list((root / "home").iterdir()), "what a subvolume holds belongs to no version"
        for path in ("var/cache/apt", "var/cache", "lost+found/@x:y", "usr/local/data"):
            assert (root / path).stat().st_mode & 0o7777 == 0o755
        assert {path.name for path in top.iterdir()} == {
            ".terra", "os", "lost+found", "home", "cache", "found", "data",
        }  # fmt: skip
        assert (root / "opt").readlink() == Path("usr/local")
        assert not list((root / "iscsi").iterdir())
        assert not list((root / "var/log").iterdir())
        assert (root / "etc/fstab").read_text().splitlines()[1:] == [
            f"UUID={uuid['os']} / ext4 noatime 0 0",
            f"UUID={uuid['os']} /run/terra/groups/os ext4 noatime,X-mount.mkdir 0 0",
            "/run/terra/groups/os/home /home none bind 0 0",
            f"UUID={uuid['data']} /run/terra/groups/data xfs X-mount.mkdir,nofail 0 0",
            "/run/terra/groups/data/luns /iscsi none bind,nofail 0 0",
            "/run/terra/groups/os/found /lost+found/@x:y none bind 0 0",
            "/run/terra/groups/data/www /srv/www none bind,nofail 0 0",
            "/run/terra/groups/os/data /usr/local/data none bind 0 0",
            "/run/terra/groups/os/cache /var/cache/apt none bind 0 0",
            f"UUID={uuid['logs']} /var/log btrfs subvol=/log,nofail 0 0",
        ]
    with opened(disks["data"], "xfs", tmp_path / "data") as data:
        assert (data / "luns/0.lun").read_text() == "lun"
        assert (data / "luns").stat().st_mode & 0o7777 == 0o750
        assert (data / "www").is_dir()
    with opened(disks["logs"], "btrfs", tmp_path / "logs", "subvol=/log") as logs:
        assert (logs / "dpkg.log").read_text() == "log"
