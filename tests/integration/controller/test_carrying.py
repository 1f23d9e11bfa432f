"""What is taken over of the system of a machine, whatever its node.toml names and its users have made there."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from terra_core.config.loader import make_document
from terra_core.config.node import NetworkNode
from terra_core.config.session import Session
from terra_core.controller.carrying import FormerSystem, carry_over
from terra_core.errors import TerraError
from terra_core.image.contained import ContainedRoot
from terra_core.system.mounts import mounted

OWN = "UUID=new / btrfs subvol=/os 0 0\n"


def node(*keep: str) -> NetworkNode:
    raw = {
        "hostname": "cm-01",
        "mac": "52:54:00:00:00:01",
        "image": "docker.io/example/os:1",
        "groups": [{"label": "os", "disk": [{"device": "/dev/sda", "size": 512}]}],
        "upgrade": {"keep": list(keep)},
    }
    return make_document(raw, NetworkNode, source="node.toml").value


def carried(place: Path, *keep: str, told: list[str] | None = None) -> Path:
    """Take over what a machine has below ``former``, with its subvolume ``/home`` in ``home``; return the next root."""
    said: list[str] = [] if told is None else told
    with ExitStack() as stack:
        former, home, new = (stack.enter_context(ContainedRoot(place / name)) for name in ("former", "home", "new"))
        system: Any = SimpleNamespace(inside=new)  # all that is used of a mounted system
        session = Session(report=lambda event: said.append(event.text))
        carry_over(FormerSystem(root=former, parts={"/home": home}), system, node(*keep), {}, session)
    return place / "new"


def trees(place: Path) -> None:
    for name in ("former/etc", "former/home", "home", "new/etc", "new/home"):
        (place / name).mkdir(parents=True)
    (place / "new/etc/fstab").write_text(OWN)
    (place / "former/etc/fstab").write_text("UUID=old / btrfs subvol=/os 0 0\nnas:/x /x nfs ro 0 0\n")


def test_a_machine_that_keeps_all_of_etc_finds_its_new_disks(tmp_path: Path) -> None:
    trees(tmp_path)
    (tmp_path / "former/etc/app").write_text("mine\n")
    new = carried(tmp_path, "/etc")
    assert (new / "etc/app").read_text() == "mine\n"
    assert (new / "etc/fstab").read_text() == f"{OWN}nas:/x /x nfs ro 0 0\n"


def test_what_a_machine_has_made_leads_nowhere_and_nobody_waits_for_it(tmp_path: Path) -> None:
    trees(tmp_path)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("of the host\n")
    former = tmp_path / "former"
    (former / "etc/ssh").symlink_to(outside)
    (former / "etc/machine-id").symlink_to(outside / "secret")
    os.mkfifo(former / "etc/hostname")
    (tmp_path / "home/link").symlink_to(outside)
    os.mkfifo(tmp_path / "home/pipe")
    os.mknod(tmp_path / "home/disk", 0o600 | 0o060000, os.makedev(7, 0))
    (tmp_path / "home/-rf").write_text("a name\n")
    (tmp_path / "home/su").write_text("setuid\n")
    (tmp_path / "home/su").chmod(0o4755)
    (tmp_path / "new/home/image").mkdir()
    new = carried(tmp_path, "/etc/ssh/ssh_host_key", "/home/x")
    assert (new / "etc/machine-id").readlink() == outside / "secret"
    assert (new / "etc/hostname").is_fifo()
    assert sorted(path.name for path in (new / "home").iterdir()) == ["-rf", "disk", "link", "pipe", "su"]
    assert (new / "home/link").readlink() == outside
    assert (new / "home/su").stat().st_mode & 0o7777 == 0o4755
    assert [path.name for path in outside.iterdir()] == ["secret"]


def test_what_cannot_be_taken_over_is_named_as_the_machine_has_it(tmp_path: Path) -> None:
    names = [letter * 250 for letter in "xyz"]
    (tmp_path / "new").mkdir()
    with mounted(Path("none"), tmp_path / "new", filesystem="tmpfs", options=("size=64k",)):
        trees(tmp_path)
        (tmp_path / "home" / names[0] / names[1]).mkdir(parents=True)
        (tmp_path / "home" / names[0] / names[1] / names[2]).write_bytes(bytes(range(256)) * 1024)
        said = r"^/home cannot be taken over: cp: .*'/home/x+ \.\.\. z+': No space left on device$"
        with pytest.raises(TerraError, match=said) as caught:
            carried(tmp_path)
    assert len(caught.value.message) < 600


def test_directories_above_what_is_kept_are_as_closed_as_they_were(tmp_path: Path) -> None:
    trees(tmp_path)
    keys = tmp_path / "former/srv/app/keys"
    keys.mkdir(parents=True)
    (keys / "one").write_text("for the program alone\n")
    os.chown(tmp_path / "former/srv/app", 7, 8)
    (tmp_path / "former/srv/app").chmod(0o2700)
    (tmp_path / "former/srv").chmod(0o711)
    (tmp_path / "new/opt").mkdir(mode=0o755)
    (tmp_path / "former/opt/own").mkdir(parents=True)
    (tmp_path / "former/opt").chmod(0o700)
    new = carried(tmp_path, "/srv/app/keys", "/opt/own")
    status = (new / "srv/app").stat()
    assert (status.st_mode & 0o7777, status.st_uid, status.st_gid) == (0o2700, 7, 8)
    assert (new / "srv").stat().st_mode & 0o7777 == 0o711
    assert (new / "srv/app/keys/one").read_text() == "for the program alone\n"
    assert (new / "opt").stat().st_mode & 0o7777 == 0o755, "what the image has is as it has it"


def test_what_the_machine_has_not_is_the_images(tmp_path: Path) -> None:
    trees(tmp_path)
    for path in ("new/etc/app/settings", "new/etc/other/settings"):
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).write_text("of the image\n")
    (tmp_path / "former/etc/other").mkdir()
    new = carried(tmp_path, "/etc/app", "/etc/other", "/etc/none", "/srv/none/at/all")
    assert (new / "etc/app/settings").read_text() == "of the image\n"
    assert not [*(new / "etc/other").iterdir()], "what the machine has is as it has it"
    assert not (new / "etc/none").exists()
    assert not (new / "srv").exists()


def test_what_is_too_deep_to_be_taken_over_is_said(tmp_path: Path) -> None:
    trees(tmp_path)
    for place in (tmp_path / "home", tmp_path / "former/etc/app"):
        place.mkdir(exist_ok=True)
        (place / "near").write_text("here\n")
        deep(place)
    told: list[str] = []
    new = carried(tmp_path, "/etc/app", told=told)
    assert (new / "home/near").read_text() == (new / "etc/app/near").read_text() == "here\n"
    for path in ("/home", "/etc/app"):
        assert f"warning: not all of {path} is taken over: 1 names are deeper than a path may be long" in told


def deep(place: Path) -> None:
    """Make directories that are deeper than a path may be long."""
    descriptor = os.open(place, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=descriptor)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    os.close(descriptor)
