"""Images that no machine can start from are refused before anything is made; other names and whiteouts are no hindrance."""

from __future__ import annotations

import gzip

import pytest

from tests.integration.controller.sites import INITRD, KERNEL, SYSTEM, Ground
from tests.unit.image.test_ramdisk import cpio
from tests.unit.oci.making import Item, file, folder, whiteout

DRACUT = cpio("init", "usr/lib/dracut-lib.sh")
FIT = cpio(
    "init", "scripts/local", *(f"usr/bin/{name}" for name in ("blkid", "btrfs", "iscsistart")),
    *(f"usr/lib/modules/lts/{name}.ko" for name in ("btrfs", "iscsi_tcp")),
)  # fmt: skip


@pytest.fixture(autouse=True)
def _nothing_before(ground: Ground) -> None:
    ground.clear()


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([file(b"boot/" + INITRD, gzip.compress(DRACUT))], "node.toml: image: the initial RAM disk"),
        ([whiteout(b"boot/.wh." + INITRD)], "node.toml: image: has no kernel that can be booted: /boot/"),
        ([whiteout(b".wh.home"), file(b"home")], "node.toml: groups[0].subvolumes[0].path: /home is no directory in the image"),
    ],
)
def test_an_image_that_cannot_boot_is_refused(ground: Ground, items: list[Item], said: str) -> None:
    image = ground.push("unfit", SYSTEM, items)
    done = ground.terra("provision", ground.node(image), accept=(1, 2))
    assert said in done.stderr.decode()
    assert ground.nodes() == []
    assert ground.left() == []


def test_the_pair_is_found_by_other_names_and_a_removed_directory_is_a_subvolume(ground: Ground) -> None:
    gone = [whiteout(b"boot/.wh." + name) for name in (KERNEL, INITRD)]
    pair = [file(b"boot/vmlinuz-lts", b"the kernel"), file(b"boot/initramfs-lts", gzip.compress(FIT))]
    below = [folder(b"var/lib/containerd"), file(b"var/lib/containerd/x")]
    image = ground.push("alpine", [*SYSTEM, *below], [*gone, *pair, whiteout(b"var/lib/.wh.containerd")])
    shown = ground.provision(image)
    assert (ground.site.paths.tftp / "nodes/cm-01/vmlinuz").read_bytes() == b"the kernel"
    with ground.opened(shown["disk_groups"][0]["disks"][0]["device"], "containerd") as place:
        assert list(place.iterdir()) == []
