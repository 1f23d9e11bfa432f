"""Machines on ext4 and xfs: what is on their disks, and what is refused before anything is made for them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lab.network import CONTROLLER
from terra_core.system.mounts import loop_device, mounted
from terra_core.system.process import run
from tests.integration.controller.sites import MAC, Ground
from tftp_lab.clients import fetch


@pytest.mark.parametrize(("kind", "size"), [("ext4", 128), ("xfs", 320)])
def test_a_machine_on_one_file_system(kind: str, size: int, ground: Ground, small: str, tmp_path: Path) -> None:
    shown = ground.provision(small, size=size, more=f'[plugins]\nfilesystem = "{kind}"\n')
    (lun,) = [disk["device"] for group in shown["disk_groups"] for disk in group["disks"]]
    uuid = run(["blkid", "--probe", "--match-tag", "UUID", "--output", "value", lun]).text.strip()
    with loop_device(Path(lun), read_only=True) as device:
        options = ("ro", *(["norecovery"] if kind == "xfs" else []))
        with mounted(device, tmp_path, filesystem=kind, options=options) as top:
            root = top / "os"
            assert (root / "etc/fstab").read_text().splitlines()[1:] == [
                f"UUID={uuid} / {kind} x-systemd.growfs 0 0",
                f"UUID={uuid} /run/terra/groups/os {kind} X-mount.mkdir 0 0",
                "/run/terra/groups/os/home /home none bind 0 0",
                "/run/terra/groups/os/containerd /var/lib/containerd none bind 0 0",
                "/run/terra/groups/os/log /var/log none bind 0 0",
            ]
            assert (top / "home/terra/.profile").read_text() == "umask 022\n"
            assert (root / "var/lib/containerd").is_dir()
    with ground.site.network.inside():
        menu = fetch(CONTROLLER, f"grub/{MAC}.cfg").decode()
    assert f" terra.uuid={uuid} terra.subvol=os " in menu
    assert json.loads(ground.terra("info").text)["nodes"] == {"ready": 1}
    ground.terra("delete", "cm-01")
    assert ground.left() == []


@pytest.mark.parametrize(
    ("kind", "size", "more", "said"),
    [
        ("ext4", 128, 'type = "raid1"\n', "type: ext4 has no raid1"),
        ("xfs", 320, 'compression = "zstd"\n', "compression: xfs compresses nothing"),
        ("ext4", 128, 'options = ["subvolid"]\n', "subvolid"),
        ("ext4", 128, 'options = ["ssd"]\n', """options: "ssd": ext4: Unknown parameter 'ssd\'"""),
        ("xfs", 128, "", "/dev/sda: has 128 MB, and xfs needs at least 300 MB"),
    ],
)
def test_what_it_cannot_do_is_refused_before_anything_is_made(
    kind: str, size: int, more: str, said: str, ground: Ground, small: str
) -> None:
    node = ground.node(small, size=size, more=f'[plugins]\nfilesystem = "{kind}"\n')
    second = '[[groups.disk]]\ndevice = "/dev/sdb"\nsize = 128\n' if "raid1" in more else ""
    node.write_text(node.read_text().replace("[[groups.disk]]", f"{more}{second}[[groups.disk]]", 1))
    done = ground.terra("provision", node, accept=(1, 2))
    errors = done.stderr.decode()
    assert said in errors
    assert "Traceback" not in errors
    assert ground.nodes() == []
    assert ground.left() == []
