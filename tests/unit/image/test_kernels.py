"""Which kernel of an image is booted, by the names and links that distributions use."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from terra_core.image.contained import ContainedRoot
from terra_core.image.kernels import Kernels, find_kernels
from terra_core.image.survey import survey
from terra_core.oci.layout import Layout
from tests.unit.oci.making import Item, LayoutMaker, file, folder, symlink, tar


def kernels(tmp_path: Path, *items: Item) -> Kernels:
    LayoutMaker(tmp_path).image([tar(folder(b"boot"), *items)])
    return survey(Layout(tmp_path).image(), {}).kernels


def files(*paths: str) -> list[Item]:
    return [file(path.encode(), b"x") for path in paths]


@pytest.mark.parametrize(
    ("paths", "chosen"),
    [
        (["boot/vmlinuz-6.1.0-42-amd64", "boot/initrd.img-6.1.0-42-amd64"], 0),  # Debian, Ubuntu
        (["boot/vmlinuz-6.5.6-300.fc39.x86_64", "boot/initramfs-6.5.6-300.fc39.x86_64.img"], 0),  # Fedora
        (["boot/vmlinuz-lts", "boot/initramfs-lts"], 0),  # Alpine
        (["boot/vmlinuz-linux", "boot/initramfs-linux.img", "boot/initramfs-linux-fallback.img"], 0),  # Arch
        (["boot/vmlinuz-6.4.0-150600-default", "boot/initrd-6.4.0-150600-default"], 0),  # SUSE
        (["boot/kernel-6.6.1-gentoo", "boot/initramfs-6.6.1-gentoo.img"], 0),  # Gentoo
        (["usr/lib/modules/6.9.1/vmlinuz", "usr/lib/modules/6.9.1/initramfs.img"], 0),  # image-based Fedora
        (["usr/lib/modules/6.9.1/vmlinuz", "boot/initramfs-6.9.1.img"], 0),
        (["boot/vmlinuz", "boot/initrd.img"], 0),
        (["vmlinuz", "initrd.img"], 0),
        (["boot/vmlinuz-0-rescue-abc", "boot/initramfs-0-rescue-abc.img", "boot/vmlinuz-6.5", "boot/initramfs-6.5.img"], 2),
        (["boot/vmlinuz-6.12.old", "boot/initrd.img-6.12.old", "boot/vmlinuz-6.1", "boot/initrd.img-6.1"], 2),
        (["boot/vmlinuz-6.1.0-42-cloud-amd64", "boot/initrd.img-6.1.0-42-cloud-amd64",
          "boot/vmlinuz-6.1.0-42-amd64", "boot/initrd.img-6.1.0-42-amd64"], 2),  # the plainest flavour
        (["boot/vmlinuz-6.5.6-300.fc39.x86_64+debug", "boot/initramfs-6.5.6-300.fc39.x86_64+debug.img",
          "boot/vmlinuz-6.5.6-300.fc39.x86_64", "boot/initramfs-6.5.6-300.fc39.x86_64.img"], 2),
        (["boot/vmlinuz-6.1.0-43-rt-amd64", "boot/initrd.img-6.1.0-43-rt-amd64",
          "boot/vmlinuz-6.1.0-42-amd64", "boot/initrd.img-6.1.0-42-amd64"], 0),  # a newer version of another flavour
    ],
)  # fmt: skip
def test_the_pair_is_found_by_the_names_of_its_distribution(tmp_path: Path, paths: Sequence[str], chosen: int) -> None:
    found = kernels(tmp_path, *files(*paths)).chosen
    assert found is not None
    assert (found.kernel, found.initrd) == (paths[chosen], paths[chosen + 1])


@pytest.mark.parametrize("directory", ["", "boot"])
@pytest.mark.parametrize("absolute", [False, True])
def test_links_say_which_is_booted_as_they_do_for_the_boot_loader(tmp_path: Path, directory: str, absolute: bool) -> None:
    versions = ("6.1.0-42-amd64", "6.1.0-42-cloud-amd64", "6.12-amd64")
    paths = [f"boot/{name}-{version}" for version in versions for name in ("vmlinuz", "initrd.img")]
    start = "/boot/" if absolute else "" if directory else "boot/"
    links = [symlink(f"{directory}/{name}".lstrip("/").encode(), f"{start}{name}-{versions[1]}".encode())
             for name in ("vmlinuz", "initrd.img")]  # fmt: skip
    found = kernels(tmp_path, *files(*paths), *links)
    assert found.chosen is not None
    assert (found.chosen.kernel, found.chosen.initrd) == (paths[2], paths[3])
    assert list(found.notes) == [f"of the image's kernels, /{paths[2]} is booted, and not 6.1.0-42-amd64, 6.12-amd64"]


def test_one_link_alone_says_nothing(tmp_path: Path) -> None:
    paths = [f"boot/{name}-{version}" for version in ("6.1", "6.12") for name in ("vmlinuz", "initrd.img")]
    found = kernels(tmp_path, *files(*paths), symlink(b"vmlinuz", b"boot/vmlinuz-6.1"), symlink(b"initrd.img", b"boot/gone"))
    assert found.chosen is not None
    assert found.chosen.version == "6.12"


def test_links_alone_say_what_is_booted_where_names_tell_nothing(tmp_path: Path) -> None:
    links = [symlink(b"boot/vmlinuz", b"/usr/boot/bz"), symlink(b"boot/initrd.img", b"../usr/boot/rd")]
    found = kernels(tmp_path, *files("usr/boot/bz", "usr/boot/rd"), *links).chosen
    assert found is not None
    assert (found.kernel, found.initrd) == ("usr/boot/bz", "usr/boot/rd"), "without links, as a boot loader reads it"


@pytest.mark.parametrize(
    ("items", "problem"),
    [
        (files("boot/vmlinuz-6.5"), "/boot/vmlinuz-6.5 has no initial RAM disk: neither initrd.img-6.5 nor"),
        ([symlink(b"boot/vmlinuz-6.5", b"/nowhere"), *files("boot/initrd.img-6.5")], "vmlinuz-6.5 of the image's tree is"),
        ([symlink(b"boot/initrd.img-6.5", b"gone"), *files("boot/vmlinuz-6.5")], "img-6.5 of the image's tree, the initial"),
        ([folder(b"boot/vmlinuz-6.5")], "is no regular file"),
        ([Item(name=b"boot/vmlinuz-6.5", type=b"4", device=(7, 83)), *files("boot/initrd.img-6.5")], "is no regular file"),
    ],
)  # fmt: skip
def test_a_kernel_that_nothing_can_boot_says_why(tmp_path: Path, items: Sequence[Item], problem: str) -> None:
    found = kernels(tmp_path, *items)
    assert found.chosen is None
    (pair,) = found.pairs
    assert re.search(problem, pair.problem), pair.problem


def test_a_newer_kernel_without_its_ram_disk_is_passed_over_and_said(tmp_path: Path) -> None:
    found = kernels(tmp_path, *files("boot/vmlinuz-6.1", "boot/initrd.img-6.1", "boot/vmlinuz-6.12", "boot/config-6.12"))
    assert found.chosen is not None
    assert found.chosen.version == "6.1"
    assert [note.partition(":")[0] for note in found.notes] == ["warning"]


def test_the_same_is_found_in_an_image_that_is_laid_down(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "usr/boot").mkdir(parents=True)
    (root / "boot").symlink_to("/usr/boot")
    for name in ("vmlinuz-lts", "initramfs-lts"):
        (root / "usr/boot" / name).write_text(name)
    with ContainedRoot(root) as inside:
        found = find_kernels(inside).chosen
    assert found is not None
    assert (found.kernel, found.initrd) == ("usr/boot/vmlinuz-lts", "usr/boot/initramfs-lts")
