"""Installing the boot loaders of a pxe image that is not to be trusted."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from terra_core.config.controller import Paths
from terra_core.config.session import Session
from terra_core.errors import InterruptedWork, TerraError
from terra_core.system.progress import Event
from terra_tftp import plugin

LOADERS = ["grubx64.efi", "ldlinux.c32", "pxelinux.0", "shimx64.efi"]
PAIR = ["kernel/initrd.img", "kernel/vmlinuz"]


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    former = os.umask(0o077)
    yield Session(paths=Paths(tmp_path / "root"))
    os.umask(former)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    tree = tmp_path / "image"
    for name in (*LOADERS, *PAIR):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(f"first {name}")
    return tree


def installed(session: Session) -> dict[str, str]:
    root = session.paths.tftp
    return {
        str(path.relative_to(root)): path.read_text()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.relative_to(root).parts[0] not in ("pxelinux.cfg", "grub")
    }


def test_the_files_are_installed_readable_for_all(session: Session, image: Path) -> None:
    assert plugin.install_boot_image(image, session) == sorted([*LOADERS, *PAIR])
    assert installed(session) == {name: f"first {name}" for name in sorted([*LOADERS, *PAIR])}
    for path in (session.paths.tftp, *session.paths.tftp.rglob("*")):
        assert path.stat().st_mode & 0o7777 == (0o755 if path.is_dir() else 0o644), path


def test_the_controllers_state_stays_closed_to_others(session: Session, image: Path) -> None:
    session.paths.state.mkdir(parents=True)
    session.paths.state.chmod(0o700)
    plugin.install_boot_image(image, session)
    assert session.paths.state.stat().st_mode & 0o777 == 0o700


def test_a_later_image_replaces_them_and_takes_away_what_it_does_not_have(session: Session, image: Path) -> None:
    plugin.install_boot_image(image, session)
    (session.paths.tftp / "own.txt").write_text("put there by somebody")
    for name in PAIR:
        (image / name).unlink()
    (image / "pxelinux.0").write_text("second")
    assert plugin.install_boot_image(image, session) == LOADERS
    assert installed(session) == {
        **{name: f"first {name}" for name in LOADERS}, "pxelinux.0": "second", "own.txt": "put there by somebody",
    }  # fmt: skip


def test_nothing_else_of_the_image_is_installed(session: Session, image: Path) -> None:
    for name in ("nodes/cm-01/vmlinuz", "pxelinux.cfg/default", "grub/grub.cfg", "etc/passwd"):
        (image / name).parent.mkdir(parents=True, exist_ok=True)
        (image / name).write_text("evil")
    plugin.install_boot_image(image, session)
    assert "evil" not in "".join(path.read_text() for path in session.paths.tftp.rglob("*") if path.is_file())


def make_link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_directory(path: Path) -> None:
    path.mkdir()


def make_empty(path: Path) -> None:
    path.touch()


def make_enormous(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**31)


@pytest.mark.parametrize("make", [make_link, make_pipe, make_directory, make_empty, make_enormous])
@pytest.mark.parametrize("name", ["shimx64.efi", "kernel/vmlinuz"])
def test_what_is_not_a_proper_file_is_refused_and_nothing_is_changed(
    session: Session, image: Path, name: str, make: Callable[[Path], None]
) -> None:
    plugin.install_boot_image(image, session)
    before = installed(session)
    (image / "pxelinux.0").write_text("second")
    (image / name).unlink()
    make(image / name)
    with pytest.raises(TerraError, match=name):
        plugin.install_boot_image(image, session)
    assert installed(session) == before


def test_a_device_is_refused_and_not_opened(session: Session, image: Path) -> None:
    free = next(number for number in range(300, 1 << 20) if not Path(f"/sys/block/loop{number}").exists())
    (image / "kernel/vmlinuz").unlink()
    os.mknod(image / "kernel/vmlinuz", stat.S_IFBLK | 0o600, os.makedev(7, free))
    with pytest.raises(TerraError, match="kernel/vmlinuz: is not a regular file"):
        plugin.install_boot_image(image, session)
    assert not Path(f"/sys/block/loop{free}").exists(), "the kernel makes a loop device when its node is opened"


def test_a_directory_that_is_a_link_is_refused(session: Session, image: Path, tmp_path: Path) -> None:
    (image / "kernel").rename(tmp_path / "outside")
    (image / "kernel").symlink_to(tmp_path / "outside")
    with pytest.raises(TerraError, match="is not a regular file in regular directories"):
        plugin.install_boot_image(image, session)
    assert installed(session) == {}


def test_an_image_that_is_no_pxe_image_is_refused(session: Session, image: Path) -> None:
    (image / "pxelinux.0").unlink()
    (image / "grubx64.efi").unlink()
    with pytest.raises(TerraError, match=r"this is no pxe image: it has no pxelinux\.0, no grubx64\.efi"):
        plugin.install_boot_image(image, session)


def test_a_kernel_without_its_ram_disk_is_refused(session: Session, image: Path) -> None:
    (image / "kernel/initrd.img").unlink()
    with pytest.raises(TerraError, match=r"has one of kernel/vmlinuz and kernel/initrd\.img"):
        plugin.install_boot_image(image, session)


def test_a_run_that_was_interrupted_is_completed_by_the_next(session: Session, image: Path) -> None:
    plugin.install_boot_image(image, session)
    (image / "pxelinux.0").write_text("second")

    def interrupt(event: Event) -> None:
        if event.done == 3:
            raise InterruptedWork("asked for")

    with pytest.raises(InterruptedWork):
        plugin.install_boot_image(image, session.reporting_to(interrupt))
    assert not list(session.paths.tftp.rglob(".*"))
    for name in PAIR:
        (image / name).unlink()
    plugin.install_boot_image(image, session)
    assert sorted(installed(session)) == LOADERS
