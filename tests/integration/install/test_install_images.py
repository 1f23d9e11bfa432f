"""Images that others made: what they have where a machine has something of its own, and what keeps them from booting."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.disks import MB, Disk, blank
from lab.network import Network
from lab.registry import Registry
from terra_core.install.disks import part_device
from terra_core.system.mounts import mounted
from terra_core.system.process import run
from tests.integration.install.grounds import SYSTEM, VERSION, Ground, Installed, group
from tests.unit.image.test_ramdisk import cpio
from tests.unit.oci.making import Item, LayoutMaker, file, folder, symlink, tar, whiteout

Push = Callable[..., str]
ID = b"0123456789abcdef0123456789abcdef\n"


@pytest.fixture
def pushed(network: Network, registry: Registry, tmp_path: Path) -> Push:
    """Return a function that pushes an image of the given layers to the registry and returns its reference."""

    def push(*layers: Sequence[Item]) -> str:
        reference = f"{registry.address}/stellarproject/{tmp_path.name.lower()}:1"
        LayoutMaker(tmp_path / "layout").image([tar(*layer) for layer in layers])
        words = ["skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false"]
        run(network.command([*words, f"oci:{tmp_path / 'layout'}:latest", f"docker://{reference}"]), timeout=120)
        return reference

    return push


@contextmanager
def opened(disk: Disk, place: Path) -> Iterator[Path]:
    with Installed(place, {"os": [part_device(disk.device, 3)]}) as tops:
        yield tops / "os"


def test_a_subvolume_whose_directory_a_layer_removes_is_there_and_empty(ground: Ground, pushed: Push, tmp_path: Path) -> None:
    below = (*SYSTEM, *map(folder, (b"var", b"var/lib", b"var/lib/containerd")), file(b"var/lib/containerd/x"))
    image = pushed(below, (whiteout(b"var/lib/.wh.containerd"),))
    with blank(tmp_path, [640]) as (disk,):
        ground.install(ground.node(group("os", "single", [disk], containerd="/var/lib/containerd"), image=image))
        with opened(disk, tmp_path / "top") as top:
            assert list((top / "containerd").iterdir()) == []
            assert (top / "os/var/lib/containerd").is_dir()
            assert " /var/lib/containerd btrfs " in (top / "os/etc/fstab").read_text()


def test_a_subvolume_is_where_a_link_of_the_image_leads(ground: Ground, pushed: Push, tmp_path: Path) -> None:
    image = pushed([*SYSTEM, symlink(b"data", b"/srv/data"), folder(b"srv"), folder(b"srv/data"), file(b"srv/data/x", b"x")])
    with blank(tmp_path, [640]) as (disk,):
        said = ground.install(ground.node(group("os", "single", [disk], data="/data"), image=image)).stderr.decode()
        assert "/data is a link in the image: its subvolume is mounted at /srv/data" in said
        with opened(disk, tmp_path / "top") as top:
            assert (top / "data/x").read_text() == "x"
            assert (top / "os/data").readlink() == Path("/srv/data")
            assert " /srv/data btrfs " in (top / "os/etc/fstab").read_text()


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([file(b"data")], "groups[0].subvolumes[0].path: /data is no directory in the image"),
        ([folder(b"etc/hosts")], "image: its /etc/hosts is a directory"),
        ([whiteout(b"boot/.wh.initrd.img-" + VERSION)], "image: has no kernel that can be booted"),
        ([file(b"boot/initrd.img-" + VERSION, gzip.compress(cpio("init", "usr/lib/dracut-lib.sh")))], "was made by dracut"),
        ([whiteout(b".wh.boot")], "image: has no kernel with an initial RAM disk"),
    ],
)
def test_an_image_that_cannot_boot_is_refused_and_nothing_is_written(
    items: list[Item], said: str, ground: Ground, pushed: Push, tmp_path: Path
) -> None:
    image = pushed(SYSTEM, items)
    with blank(tmp_path, [640]) as (disk,):
        before = disk.content()
        node = ground.node(group("os", "single", [disk], data="/data"), image=image)
        for words in ([], ["--plan"]):
            done = ground.install(*words, node, accept=(2 if "groups[" in said else 1,)).stderr.decode()
            assert said in done
            assert "nothing was written to any disk" in done
        assert disk.content() == before


def test_two_machines_of_one_image_have_two_identities(ground: Ground, pushed: Push, tmp_path: Path) -> None:
    key = b"etc/ssh/ssh_host_ed25519_key"
    dbus = (folder(b"var"), folder(b"var/lib"), folder(b"var/lib/dbus"), file(b"var/lib/dbus/machine-id", ID))
    image = pushed([*SYSTEM, *dbus, file(b"etc/machine-id", ID), folder(b"etc/ssh"), file(key, b"PRIVATE", mode=0o600)])
    keys = set()
    for hostname in ("one", "two"):
        (tmp_path / hostname).mkdir()
        with blank(tmp_path / hostname, [640]) as (disk,):
            node = ground.node(group("os", "single", [disk]), hostname=hostname, image=image)
            said = ground.install(node).stderr.decode()
            assert "each machine makes its own: /var/lib/dbus/machine-id, /etc/machine-id" in said
            assert "made anew for this machine: /etc/ssh/ssh_host_ed25519_key" in said
            with opened(disk, tmp_path / hostname / "top") as top:
                assert (top / "os/etc/machine-id").read_bytes() == b""
                assert not (top / "os/var/lib/dbus/machine-id").exists()
                keys.add((top / "os" / key.decode()).read_bytes())
    assert len(keys) == 2
    assert b"PRIVATE" not in keys


@pytest.mark.parametrize(("kind", "size"), [("btrfs", 512), ("ext4", 320), ("xfs", 420)])
def test_an_image_that_fills_the_disk_is_told_as_that_and_the_disk_takes_another_one(
    kind: str, size: int, ground: Ground, pushed: Push, tmp_path: Path
) -> None:
    big = pushed([*SYSTEM, folder(b"usr"), file(b"usr/big", b"much of the same\n" * (size * MB // 17))])
    with blank(tmp_path, [size]) as (disk,):
        system = group("os", "single", [disk], 'boot = "bios"', f'filesystem = "{kind}"')
        said = ground.install(ground.node(system, image=big), accept=(1,)).stderr.decode()
        assert "No space left on device" in said
        assert "not wholly undone" not in said
        ground.install(ground.node(system))  # it need not be wiped: what was begun is of this machine
        part, place = part_device(disk.device, 3), tmp_path / "whole"
        place.mkdir()
        with mounted(part, place, filesystem=kind, options=("subvolid=5",) if kind == "btrfs" else ()) as top:
            assert sorted(path.name for path in top.iterdir() if path.name != "lost+found") == [".terra", "os"]
            assert (top / "os/home/terra/note").read_text() == "from the image\n"
