"""The archive of a machine's boot steps: what is in it, and what is found out before anything is written."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest
from attrs import evolve

from terra_core.errors import TerraError
from terra_core.hookspecs import BootStep, RenderedFile, RenderedLink
from terra_core.image.contained import ContainedRoot
from terra_core.image.kernels import Pair
from terra_core.image.ramdisk import Contents
from terra_core.machine.modules import INDEX
from terra_core.machine.steps import BootSteps, check_steps, make_steps_archive, problems_of
from terra_core.machine.system import check_system, write_system
from tests.unit.machine.test_archive import entries

VERSION = "6.1.0-42-amd64"
KERNEL = Pair(kernel=f"boot/vmlinuz-{VERSION}", initrd=f"boot/initrd.img-{VERSION}", version=VERSION)
HELD = Contents(paths=frozenset({"init", "scripts/local", "usr/bin/insmod", "usr/sbin/iscsistart"}))
MOUNT = BootStep(script="mount it\n", modules=("ext4",))
CONNECT = BootStep(script="connect it\n", needs=("iscsistart",))
STEPS = BootSteps(connect=CONNECT, mount=MOUNT)


def tree(root: Path, **modules: bytes) -> Path:
    """Make a root with modules of these names, packed by xz, each needing those after it."""
    place = root / "usr/lib/modules" / VERSION
    place.mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    names = list(modules)
    paths = [f"kernel/{name}.ko.xz" for name in names]
    lines = [f"{path}: {' '.join(paths[at + 1 :])}\n" for at, path in enumerate(paths)]
    (place / "modules.dep").write_text("".join(lines))
    (place / "kernel").mkdir()
    for name, content in modules.items():
        (place / f"kernel/{name}.ko.xz").write_bytes(lzma.compress(content))
    return place


def made(root: Path, steps: BootSteps = STEPS, kernel: Pair | None = KERNEL, held: Contents | None = HELD) -> dict[str, bytes]:
    with ContainedRoot(root) as inside:
        found = entries(make_steps_archive(steps, inside, kernel, held))
    return {path: content for path, (mode, content) in found.items() if mode >> 12 == 8}


def test_the_archive_has_the_script_the_steps_and_the_modules_in_order(tmp_path: Path) -> None:
    tree(tmp_path, ext4=b"E", jbd2=b"J")
    found = made(tmp_path)
    assert found["usr/lib/terra/steps/connect"] == b"connect it\n"
    assert found["usr/lib/terra/steps/mount"] == b"mount it\n"
    assert b"boot=terra" in found["scripts/terra"]
    assert found["usr/lib/terra/modules/wanted"] == b"ext4\n"
    assert found["usr/lib/terra/modules/list"] == b"jbd2 jbd2.ko required\next4 ext4.ko required\n"
    assert (found["usr/lib/terra/modules/ext4.ko"], found["usr/lib/terra/modules/jbd2.ko"]) == (b"E", b"J")


def test_a_machine_with_its_own_disks_has_no_step_to_connect(tmp_path: Path) -> None:
    tree(tmp_path, ext4=b"E")
    assert "usr/lib/terra/steps/connect" not in made(tmp_path, BootSteps(mount=MOUNT))


def test_what_the_ram_disk_has_is_not_packed_again(tmp_path: Path) -> None:
    tree(tmp_path, ext4=b"E", jbd2=b"J")
    base = f"usr/lib/modules/{VERSION}/kernel"
    some = evolve(HELD, paths=HELD.paths | {f"{base}/jbd2.ko"})
    assert made(tmp_path, held=some)["usr/lib/terra/modules/list"] == b"jbd2 - required\next4 ext4.ko required\n"
    everything = evolve(some, paths=some.paths | {f"{base}/ext4.ko"})
    assert [path for path in made(tmp_path, held=everything) if "modules/" in path] == ["usr/lib/terra/modules/wanted"]


def test_all_is_packed_where_nobody_knows_what_the_ram_disk_has(tmp_path: Path) -> None:
    tree(tmp_path, ext4=b"E")
    assert "usr/lib/terra/modules/ext4.ko" in made(tmp_path, held=None)


def test_a_kernel_that_is_not_the_images_gets_no_modules_of_it(tmp_path: Path) -> None:
    tree(tmp_path, ext4=b"E")
    assert [path for path in made(tmp_path, kernel=None, held=None) if "modules/" in path] == ["usr/lib/terra/modules/wanted"]


@pytest.mark.parametrize("target", ["/etc/shadow", "../../../../../../../etc/shadow", "/proc/self/environ"])
def test_a_module_that_is_a_link_leads_nowhere_outside_of_the_image(tmp_path: Path, target: str) -> None:
    place = tree(tmp_path, ext4=b"E")
    (place / "modules.dep").write_text("kernel/ext4.ko:\n")
    (place / "kernel/ext4.ko").symlink_to(target)
    with pytest.raises(TerraError, match=r"kernel/ext4\.ko of the image is missing"):
        made(tmp_path)


def test_an_absurd_module_is_refused(tmp_path: Path) -> None:
    place = tree(tmp_path, ext4=b"E")
    (place / "kernel/ext4.ko.xz").write_bytes(lzma.compress(bytes(200 << 20), preset=0))
    with pytest.raises(TerraError, match=r"more than \d+ bytes when unpacked"):
        made(tmp_path)
    with (place / "modules.dep").open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(TerraError, match="the limit is"):
        made(tmp_path)


def files(*paths: str) -> BootSteps:
    return BootSteps(mount=BootStep(script="", files=tuple(RenderedFile(path=path, content=b"x") for path in paths)))


def test_files_of_a_step_are_where_it_says(tmp_path: Path) -> None:
    assert made(tmp_path, files("etc/nbd/key", "lib/udev/rules.d/60-x.rules"))["etc/nbd/key"] == b"x"


@pytest.mark.parametrize("path", [
    "/etc/x", "../x", "etc/../x", "etc//x", "", "init", "scripts/terra", "usr/lib/terra/steps/mount", "lib", "a\nb", "a b",
])  # fmt: skip
def test_a_file_of_a_step_has_a_place_of_its_own(tmp_path: Path, path: str) -> None:
    with pytest.raises(TerraError, match="no name that a file of a boot step can have"):
        check_steps(files(path))
    with pytest.raises(TerraError, match="no name that a file of a boot step can have"):
        made(tmp_path, files(path))


def test_a_file_of_a_step_takes_the_place_of_no_link_of_the_ram_disk(tmp_path: Path) -> None:
    held = evolve(HELD, links=frozenset({"etc/nbd"}))
    with pytest.raises(TerraError, match="/etc/nbd is a link in the initial RAM disk"):
        made(tmp_path, files("etc/nbd/key"), held=held)


def said(held: Contents = HELD, index: dict[str, bytes] | None = None, steps: BootSteps = STEPS) -> list[str]:
    return list(problems_of(steps, "boot/initrd.img-6", held, {"modules.dep": b"ext4.ko:\n"} if index is None else index))


def test_nothing_stands_against_an_image_that_has_what_steps_need() -> None:
    assert said() == []


def test_a_ram_disk_of_another_kind_is_named() -> None:
    (text,) = said(Contents(paths=frozenset({"init", "usr/lib/dracut-lib.sh"})))
    assert text.startswith("the initial RAM disk /boot/initrd.img-6 of the image was made by dracut")
    assert "run update-initramfs" in text
    assert "has no scripts/local" in said(Contents(paths=frozenset({"init"})))[0]


def test_a_program_that_the_ram_disk_lacks_is_named_with_what_to_do() -> None:
    (text,) = said(evolve(HELD, paths=HELD.paths - {"usr/sbin/iscsistart"}))
    assert "has no program iscsistart" in text
    assert "run update-initramfs" in text


def test_a_module_that_the_kernel_lacks_is_named() -> None:
    (text,) = said(index={"modules.dep": b"btrfs.ko:\n"})
    assert "the kernel of the image has no module ext4" in text
    assert said(evolve(HELD, paths=HELD.paths | {"usr/lib/modules/6/kernel/ext4.ko"}), index={}) == []


def test_a_ram_disk_that_cannot_load_modules_of_others_is_named() -> None:
    (text,) = said(evolve(HELD, paths=HELD.paths - {"usr/bin/insmod"}))
    assert "neither ext4 nor the program insmod" in text


def test_nothing_is_said_of_what_could_not_be_read() -> None:
    assert said(Contents(paths=frozenset(), unread="it is compressed by lz4")) == []


def test_the_index_of_a_real_size_is_within_the_limits() -> None:
    assert all(most >= 5 * size for size, most in zip([526626, 1667, 1316451, 6483], INDEX.values(), strict=True))


def test_files_and_links_of_a_system_stay_within_it(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "etc").symlink_to(outside)
    (root / "run").symlink_to("/usr/run")
    written: list[RenderedFile | RenderedLink] = [
        RenderedFile(path="usr/lib/systemd/system/x.service", content=b"[Unit]\n"),
        RenderedLink(path="usr/lib/systemd/system/sysinit.target.wants/x.service", target="../x.service"),
    ]
    (root / "usr/lib/systemd/system/sysinit.target.wants").mkdir(parents=True)
    (root / "usr/lib/systemd/system/sysinit.target.wants/x.service").write_text("another")
    with ContainedRoot(root) as inside:
        write_system(written, inside)
        write_system(written, inside)
        with pytest.raises(TerraError, match="cannot be written"):
            write_system([RenderedFile(path="etc/x", content=b"")], inside)
        with pytest.raises(TerraError, match="cannot be written"):
            write_system([RenderedLink(path="etc/x", target="y")], inside)
    link = root / "usr/lib/systemd/system/sysinit.target.wants/x.service"
    assert link.readlink() == Path("../x.service")
    assert link.read_text() == "[Unit]\n"
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("path", ["/etc/x", "etc/../x", "./x", "etc//x", "", "etc/", "a\nb"])
def test_a_path_in_a_system_is_plain(path: str) -> None:
    for entry in (RenderedFile(path=path, content=b""), RenderedLink(path=path, target="x")):
        with pytest.raises(TerraError, match="no path of a file in a machine"):
            check_system([entry])


def test_a_machine_with_its_own_disks_gets_the_kernels_watchdog(tmp_path: Path) -> None:
    tree(tmp_path, softdog=b"W", watchdog_core=b"C", ext4=b"E")
    own = evolve(STEPS, connect=None)
    found = made(tmp_path, own)
    assert found["usr/lib/terra/modules/watchdog"] == b"ext4.ko\nwatchdog_core.ko\nsoftdog.ko\n"
    assert found["usr/lib/terra/modules/softdog.ko"] == b"W"
    assert b"softdog" not in found["usr/lib/terra/modules/wanted"], "only a trial loads it"
    held = evolve(HELD, paths=HELD.paths | {f"usr/lib/modules/{VERSION}/kernel/softdog.ko"})
    assert "usr/lib/terra/modules/watchdog" not in made(tmp_path, own, held=held)
    assert "usr/lib/terra/modules/watchdog" not in made(tmp_path), "a machine without a disk is never on trial"


def test_an_image_without_a_watchdog_is_fine(tmp_path: Path) -> None:
    tree(tmp_path, ext4=b"E")
    assert "usr/lib/terra/modules/watchdog" not in made(tmp_path, evolve(STEPS, connect=None))
