"""What of an image keeps a machine from starting, or from having its subvolumes, found before anything is written."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import pytest
from attrs import evolve

from terra_core.config.loader import make_document
from terra_core.config.node import Node
from terra_core.errors import ConfigError, TerraError
from terra_core.fitness import Fit, Surveys, fit
from terra_core.hookspecs import BootStep, RenderedFile, RenderedLink
from terra_core.machine.steps import BootSteps
from terra_core.oci.layout import Layout
from tests.unit.controller.fakes import node_table
from tests.unit.image.test_ramdisk import cpio
from tests.unit.oci.making import Item, LayoutMaker, file, folder, hardlink, symlink, tar, whiteout

STEPS = BootSteps(mount=BootStep(script="mount it\n", needs=("blkid",)))
DRACUT, FIT = cpio("init", "usr/lib/dracut-lib.sh"), cpio("init", "scripts/local", "usr/sbin/blkid")
BOOT = (folder(b"boot"), file(b"boot/vmlinuz-6.1", b"k"), file(b"boot/initrd.img-6.1", gzip.compress(FIT)))


def looked_at(
    tmp_path: Path, *layers: Sequence[Item], subvolumes: Sequence[str] = (), boot_loader: bool = True, own_kernel: bool = True,
    steps: BootSteps = STEPS,
) -> Fit:
    LayoutMaker(tmp_path / "layout").image([tar(*layer) for layer in layers])
    table = node_table()
    table["groups"][0]["subvolumes"] = [{"name": f"s{at}", "path": path} for at, path in enumerate(subvolumes)]
    node = make_document(table, Node, source="node.toml").value
    found = Surveys().of(Layout(tmp_path / "layout").image())
    return fit(found, node, steps, source="node.toml", boot_loader=boot_loader, own_kernel=own_kernel)


def problems(tmp_path: Path, *layers: Sequence[Item], **more: object) -> str:
    with pytest.raises(TerraError) as caught:
        looked_at(tmp_path, *layers, **more)  # type: ignore[arg-type]  # as the test says
    assert isinstance(caught.value, ConfigError) == ("groups[" in caught.value.message)
    return caught.value.message


def test_an_image_that_can_boot_is_fit(tmp_path: Path) -> None:
    found = looked_at(tmp_path, BOOT, subvolumes=["/home", "/var/log"])
    assert (found.kernel, found.initrd, found.notes) == ("boot/vmlinuz-6.1", "boot/initrd.img-6.1", ())
    assert found.places == {"/home": "/home", "/var/log": "/var/log"}


@pytest.mark.parametrize(
    ("held", "said"),
    [
        (DRACUT, "was made by dracut"),
        (cpio("init"), "has no scripts/local"),
        (cpio("init", "scripts/local"), "has no program blkid, which the machine needs to find its root"),
    ],
)
def test_a_ram_disk_that_cannot_run_the_steps_is_refused_on_both_roads(tmp_path: Path, held: bytes, said: str) -> None:
    layer = (*BOOT[:2], file(b"boot/initrd.img-6.1", gzip.compress(held)))
    for number, disk in enumerate((True, False)):
        text = problems(tmp_path / str(number), layer, boot_loader=disk, own_kernel=disk)
        assert text.startswith(f"node.toml: image: the initial RAM disk /boot/initrd.img-6.1 of the image {said}")
        assert "run update-initramfs" in text


def test_a_module_that_neither_kernel_nor_ram_disk_has_is_missed(tmp_path: Path) -> None:
    directory = [folder(b"lib"), folder(b"lib/modules"), folder(b"lib/modules/6.1")]
    for number, (index, there) in enumerate(((b"kernel/btrfs.ko:\n", False), (b"kernel/ext4.ko:\n", True))):
        place = tmp_path / str(number)
        LayoutMaker(place).image([tar(*BOOT, *directory, file(b"lib/modules/6.1/modules.dep", index))])
        seen = Surveys().of(Layout(place).image())
        assert seen.modules == {"modules.dep": index}
        node = make_document(node_table(), Node, source="node.toml").value
        steps = BootSteps(mount=BootStep(script="", modules=("ext4",)))
        if there:
            with pytest.raises(TerraError, match="neither ext4 nor the program insmod"):
                fit(seen, node, steps, source="node.toml", boot_loader=True, own_kernel=True)
        else:
            with pytest.raises(TerraError, match="the kernel of the image has no module ext4"):
                fit(seen, node, steps, source="node.toml", boot_loader=True, own_kernel=True)


def test_a_file_that_is_two_things_at_once_is_refused(tmp_path: Path) -> None:
    directory = [folder(b"lib"), folder(b"lib/modules"), folder(b"lib/modules/6.1")]
    twice = hardlink(b"lib/modules/6.1/modules.dep", b"boot/initrd.img-6.1")
    LayoutMaker(tmp_path).image([tar(*BOOT, *directory, twice)])
    with pytest.raises(TerraError, match="is the same file as another"):
        Surveys().of(Layout(tmp_path).image())


def test_a_ram_disk_that_cannot_be_looked_into_is_said(tmp_path: Path) -> None:
    (note,) = looked_at(tmp_path, (*BOOT[:2], file(b"boot/initrd.img-6.1", b"an initrd"))).notes
    assert note.startswith("warning: /boot/initrd.img-6.1 cannot be looked into (it is no cpio archive)")


def test_a_kernel_without_its_ram_disk_is_refused_on_both_roads(tmp_path: Path) -> None:
    for number, disk in enumerate((True, False)):
        said = problems(tmp_path / str(number), BOOT[:2], boot_loader=disk, own_kernel=disk)
        assert said.startswith("node.toml: image: has no kernel that can be booted: /boot/vmlinuz-6.1 has no initial RAM disk")


def test_an_image_without_any_kernel_boots_over_the_network_alone(tmp_path: Path) -> None:
    assert "nothing can be booted from a disk" in problems(tmp_path / "1", [folder(b"etc")])
    found = looked_at(tmp_path / "2", [folder(b"etc")], boot_loader=False, own_kernel=False)
    assert found.kernel == ""
    assert found.notes[0].startswith("warning: the image has no kernel of its own")


@pytest.mark.parametrize("at", [b"boot", b"boot/grub"])
def test_a_boot_loader_gets_no_links(tmp_path: Path, at: bytes) -> None:
    where = [folder(b"usr"), folder(b"usr/boot"), symlink(b"boot", b"/usr/boot")] if at == b"boot" else [folder(b"boot")]
    where += [symlink(b"boot/grub", b"/usr/grub")] if at != b"boot" else []
    said = problems(tmp_path, [*where, *BOOT[1:]])
    assert f"its /{at.decode()} is no directory" in said


@pytest.mark.parametrize("place", ["etc/shadow", "boot/a b", "boot/-x", "opt/k"])
def test_a_kernel_where_no_boot_loader_finds_it_boots_over_the_network_alone(tmp_path: Path, place: str) -> None:
    layer = [*BOOT[:1], symlink(b"boot/vmlinuz-6.1", b"/" + place.encode()), file(place.encode()), *BOOT[2:]]
    assert "which is no place or no name that a boot menu takes" in problems(tmp_path / "1", layer)
    assert looked_at(tmp_path / "2", layer, boot_loader=False, own_kernel=False).kernel == place


@pytest.mark.parametrize(
    ("items", "where"),
    [
        ([], "/data/x"),
        ([folder(b"data"), folder(b"data/x")], "/data/x"),
        ([symlink(b"data", b"/srv/data")], "/srv/data/x"),
        ([symlink(b"data", b"srv")], "/srv/x"),
        ([symlink(b"data", b"../../../srv")], "/srv/x"),
        ([folder(b"data"), symlink(b"data/x", b"y")], "/data/y"),
        ([folder(b"data"), folder(b"data/y"), symlink(b"data/x", b"/data/y")], "/data/y"),
    ],
)
def test_a_subvolume_follows_the_links_of_the_image(tmp_path: Path, items: list[Item], where: str) -> None:
    found = looked_at(tmp_path, [*BOOT, *items], subvolumes=["/data/x"])
    assert found.places == {"/data/x": where}
    assert bool(found.notes) == (where != "/data/x")


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([folder(b"data"), file(b"data/x")], "/data/x is no directory in the image"),
        ([file(b"data")], "/data/x leads nowhere in the image: /data is no directory"),
        ([folder(b"data"), Item(name=b"data/x", type=b"6")], "/data/x is no directory in the image"),
        ([folder(b"data"), symlink(b"data/x", b"x")], "/data/x leads nowhere in the image: it leads through a loop"),
        ([folder(b"data"), symlink(b"data/x", b"/")], "/data/x leads to / in the image"),
        ([folder(b"data"), symlink(b"data/x", b"/etc/systemd")], "/data/x leads to /etc/systemd in the image"),
        ([symlink(b"data", b"/run")], "/data/x leads to /run/x in the image"),
        ([folder(b"data"), symlink(b"data/x", b"a b")], "which cannot stand in fstab"),
    ],
)
def test_a_subvolume_without_a_place_is_refused_by_its_key(tmp_path: Path, items: list[Item], said: str) -> None:
    text = problems(tmp_path, [*BOOT, *items], subvolumes=["/home", "/data/x"])
    assert text.startswith("node.toml: groups[0].subvolumes[1].path: ")
    assert said in text


def test_two_subvolumes_in_one_place_are_refused(tmp_path: Path) -> None:
    text = problems(tmp_path, [*BOOT, symlink(b"data", b"home")], subvolumes=["/home", "/data"])
    assert "groups[0].subvolumes[1].path: /data is the same directory of the image as /home" in text


def test_a_place_that_is_a_link_in_a_lower_layer_alone_is_refused(tmp_path: Path) -> None:
    layers = ([*BOOT, symlink(b"data", b"srv")], [whiteout(b".wh.data")], [folder(b"data")])
    assert "/data is a link or a file in one layer" in problems(tmp_path, *layers, subvolumes=["/data"])


def test_a_directory_that_a_layer_removes_is_a_place_all_the_same(tmp_path: Path) -> None:
    layers = ([*BOOT, folder(b"data"), file(b"data/x")], [whiteout(b".wh.data")])
    assert looked_at(tmp_path, *layers, subvolumes=["/data"]).places == {"/data": "/data"}


def test_hard_links_between_subvolumes_are_refused(tmp_path: Path) -> None:
    items = [*BOOT, folder(b"data"), file(b"data/x"), folder(b"srv"), hardlink(b"srv/y", b"data/x")]
    text = problems(tmp_path / "1", items, subvolumes=["/home", "/data"])
    assert "groups[0].subvolumes[1].path: the image has a hard link between /data and /srv" in text
    looked_at(tmp_path / "2", items, subvolumes=["/home"])


@pytest.mark.parametrize("path", [b"etc/hostname", b"etc/hosts", b"etc/machine-id", b"etc/fstab"])
def test_a_directory_in_the_place_of_a_file_is_refused(tmp_path: Path, path: bytes) -> None:
    assert f"its /{path.decode()} is a directory" in problems(tmp_path, [*BOOT, folder(path)])


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([file(b"etc")], "its /etc is no directory"),
        ([symlink(b"etc", b"/nowhere")], "its /etc is a link that leads nowhere"),
        ([symlink(b"etc", b"etc")], "its /etc is no directory"),
    ],
)
def test_an_etc_that_nothing_can_be_written_into_is_refused(tmp_path: Path, items: list[Item], said: str) -> None:
    assert said in problems(tmp_path, [*BOOT, *items])


SYSTEM = (RenderedFile(path="usr/lib/systemd/system-shutdown/end", content=b""), RenderedLink(path="etc/a/b", target="c"))


@pytest.mark.parametrize(
    ("items", "disk", "network"),
    [
        ([folder(b"boot/grub"), folder(b"boot/grub/grub.cfg")], "its /boot/grub/grub.cfg is a directory", ""),
        ([file(b"boot/grub")], "its /boot/grub is no directory, and /boot/grub/grub.cfg is written there", ""),
        ([folder(b"boot/terra-steps.img")], "its /boot/terra-steps.img is a directory", ""),
        ([folder(b"etc"), file(b"etc/initramfs-tools")], "its /etc/initramfs-tools is no directory, and /etc/initramfs-", ""),
        ([folder(b"etc"), symlink(b"etc/initramfs-tools", b"/x/y")], "its /etc/initramfs-tools is a link that leads now", ""),
        ([folder(b"etc"), file(b"etc/a")], "", "its /etc/a is no directory, and /etc/a/b is written there"),
        ([symlink(b"usr", b"/data")], "", "its /usr is a link that leads nowhere, and /usr/lib/systemd/system-shutdown/end is"),
        ([folder(b"usr"), symlink(b"usr/lib", b"lib")], "", "its /usr/lib is no directory, and /usr/lib/systemd/"),
        ([folder(b"etc"), folder(b"etc/a"), folder(b"etc/a/b")], "", "its /etc/a/b is a directory"),
    ],
)
def test_every_place_that_is_written_is_looked_at(tmp_path: Path, items: list[Item], disk: str, network: str) -> None:
    assert disk in (problems(tmp_path / "1", [*BOOT, *items]) if disk else "")
    steps = evolve(STEPS, connect=BootStep(script="", system=SYSTEM))
    if network:
        assert network in problems(tmp_path / "2", [*BOOT, *items], boot_loader=False, own_kernel=False, steps=steps)
    else:
        looked_at(tmp_path / "2", [*BOOT, *items], boot_loader=False, own_kernel=False, steps=steps)


def test_a_link_that_is_replaced_is_said(tmp_path: Path) -> None:
    found = looked_at(tmp_path, [*BOOT, folder(b"etc"), symlink(b"etc/hostname", b"/data/hostname")])
    assert found.notes == ("/etc/hostname of the image is a link, and is replaced by a file",)
