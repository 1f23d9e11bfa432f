"""Single files of a tree that is not trusted: nothing outside is read, written or followed, wherever its links point."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from lab.held import nothing_held
from terra_core.errors import TerraError
from terra_core.image.contained import ContainedRoot
from tests.unit.oci.making import make_special

SECRET = "a secret of the host"
LIMIT = 1024


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """Make a directory of the host beside the tree."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text(SECRET)
    return outside


@pytest.fixture
def tree(tmp_path: Path, outside: Path) -> Path:
    """Make the root of a tree."""
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "boot").mkdir()
    (tree / "etc/hosts").write_text("127.0.0.1 localhost\n")
    return tree


def snapshot(directory: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path): (path.lstat().st_mode, path.read_bytes() if path.is_file() and not path.is_symlink() else b"")
        for path in directory.rglob("*")
    }


def test_a_file_is_read_and_a_missing_one_is_nothing(tree: Path) -> None:
    with ContainedRoot(tree) as inside:
        assert inside.read("etc/hosts", limit=LIMIT) == b"127.0.0.1 localhost\n"
        assert inside.read("etc/shadow", limit=LIMIT) is None
        assert inside.read("no/such/directory", limit=LIMIT) is None


@pytest.mark.parametrize(
    "link", ["{outside}/secret", "../outside/secret", "../../../../../..{outside}/secret", "/proc/self/root{outside}/secret"]
)
def test_a_link_to_the_outside_leads_nowhere(tree: Path, outside: Path, tmp_path: Path, link: str) -> None:
    (tree / "boot/vmlinuz").symlink_to(link.format(outside=outside))
    with ContainedRoot(tree) as inside:
        assert inside.read("boot/vmlinuz", limit=LIMIT) is None
        with pytest.raises(TerraError, match="/boot/vmlinuz of the image's tree is missing"):
            inside.copy_out("boot/vmlinuz", tmp_path / "copy", limit=LIMIT)
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("link", ["{outside}", "../outside", "/../outside", "../../../../..{outside}"])
def test_a_directory_that_is_a_link_to_the_outside_is_none(tree: Path, outside: Path, link: str) -> None:
    (tree / "boot").rmdir()
    (tree / "boot").symlink_to(link.format(outside=outside))
    with ContainedRoot(tree) as inside:
        assert inside.names("boot") == frozenset()
        assert inside.read("boot/secret", limit=LIMIT) is None
        with pytest.raises(TerraError):
            inside.write("boot/secret", b"overwritten", mode=0o644)
    assert (outside / "secret").read_text() == SECRET
    assert [path.name for path in outside.iterdir()] == ["secret"]


def test_the_real_proc_is_no_way_out(tree: Path) -> None:
    (tree / "boot").rmdir()
    (tree / "boot").symlink_to("/proc/self/cwd")
    with ContainedRoot(tree) as inside:
        assert inside.names("boot") == frozenset()


def test_an_absolute_link_resolves_as_it_would_for_the_machine(tree: Path, tmp_path: Path) -> None:
    (tree / "boot/vmlinuz-1").write_text("a kernel")
    (tree / "vmlinuz").symlink_to("/boot/vmlinuz-1")
    (tree / "usr").mkdir()
    (tree / "usr/boot").symlink_to("/boot")
    with ContainedRoot(tree) as inside:
        assert inside.read("vmlinuz", limit=LIMIT) == b"a kernel"
        assert inside.names("usr/boot") == {"vmlinuz-1"}
        inside.copy_out("usr/boot/vmlinuz-1", tmp_path / "copy", limit=LIMIT)
    assert (tmp_path / "copy").read_text() == "a kernel"


def test_a_file_is_put_in_place_whole_with_its_mode(tree: Path) -> None:
    umask = os.umask(0o077)
    try:
        with ContainedRoot(tree) as inside:
            inside.write("etc/hostname", b"cm-01\n", mode=0o644)
            inside.write("etc/machine-id", b"", mode=0o444)
    finally:
        os.umask(umask)
    assert (tree / "etc/hostname").read_text() == "cm-01\n"
    assert stat.S_IMODE((tree / "etc/hostname").stat().st_mode) == 0o644
    assert stat.S_IMODE((tree / "etc/machine-id").stat().st_mode) == 0o444
    assert {path.name for path in (tree / "etc").iterdir()} == {"hosts", "hostname", "machine-id"}


def test_what_stands_in_the_place_is_replaced_and_not_followed(tree: Path, outside: Path) -> None:
    (tree / "etc/hostname").symlink_to(outside / "secret")
    os.mkfifo(tree / "etc/fstab")
    (tree / "etc/shared").write_text("shared")
    os.link(tree / "etc/shared", tree / "etc/machine-id")
    with ContainedRoot(tree) as inside:
        for name in ("hostname", "fstab", "machine-id"):
            inside.write(f"etc/{name}", b"new", mode=0o644)
    assert [(tree / "etc" / name).read_text() for name in ("hostname", "fstab", "machine-id")] == ["new"] * 3
    assert (tree / "etc/shared").read_text() == "shared"
    assert (outside / "secret").read_text() == SECRET
    assert not (tree / "etc/hostname").is_symlink()


@pytest.mark.parametrize("kind", ["block", "character", "fifo", "socket"])
@pytest.mark.parametrize("linked", [False, True])
def test_what_is_no_file_is_looked_at_and_not_opened(tree: Path, tmp_path: Path, kind: str, linked: bool) -> None:
    place = tree / ("boot/real" if linked else "boot/vmlinuz")
    loop = make_special(place, kind)
    if linked:
        (tree / "boot/vmlinuz").symlink_to("/boot/real")
    with ContainedRoot(tree) as inside:
        with pytest.raises(TerraError, match="/boot/vmlinuz of the image's tree is no regular file"):
            inside.copy_out("boot/vmlinuz", tmp_path / "copy", limit=LIMIT)
        with pytest.raises(TerraError, match="/boot/vmlinuz of the image's tree is no regular file"):
            inside.read("boot/vmlinuz", limit=LIMIT)
    assert not loop.exists(), "the kernel makes a loop device when its node is opened"


def test_the_file_that_is_written_first_is_no_way_out_either(tree: Path, outside: Path) -> None:
    (tree / "etc/.hostname.terra").symlink_to(outside / "secret")
    with ContainedRoot(tree) as inside:
        inside.write("etc/hostname", b"new", mode=0o644)
    assert (outside / "secret").read_text() == SECRET
    assert (tree / "etc/hostname").read_text() == "new"


def test_missing_directories_are_made_inside(tree: Path) -> None:
    with ContainedRoot(tree) as inside:
        inside.write("a/b/c", b"x", mode=0o600)
        inside.write("top", b"x", mode=0o600)
    assert (tree / "a/b/c").read_bytes() == b"x"
    assert stat.S_IMODE((tree / "a/b").stat().st_mode) == 0o755
    assert (tree / "top").exists()


def test_a_directory_is_made_inside_whatever_the_umask_and_one_that_is_there_stays(tree: Path, outside: Path) -> None:
    (tree / "boot").chmod(0o700)
    (tree / "srv").symlink_to("/boot")
    before = snapshot(outside)
    former = os.umask(0o077)
    try:
        with ContainedRoot(tree) as inside:
            for path in ("srv/a/b", "boot", "../outside/new", "srv/a/b"):
                inside.directory(path)
    finally:
        os.umask(former)
    modes = {path: stat.S_IMODE((tree / path).stat().st_mode) for path in ("boot", "boot/a", "boot/a/b", "outside/new")}
    assert modes == {"boot": 0o700, "boot/a": 0o755, "boot/a/b": 0o755, "outside/new": 0o755}
    assert snapshot(outside) == before


@pytest.mark.parametrize("path", ["etc/hosts", "etc/hosts/a", "loop/a"])
def test_where_something_else_stands_no_directory_is_made(path: str, tree: Path) -> None:
    (tree / "loop").symlink_to("loop")
    with ContainedRoot(tree) as inside, pytest.raises(TerraError, match=f"/{path} of the image's tree cannot be made: "):
        inside.directory(path)
    assert (tree / "etc/hosts").read_text() == "127.0.0.1 localhost\n"


@pytest.mark.parametrize("link", ["/nowhere", "../outside/new", "{outside}/new", "etc", "/etc/hosts"])
def test_etc_as_a_link_that_leads_nowhere_is_refused(tree: Path, outside: Path, link: str) -> None:
    (tree / "etc/hosts").unlink()
    (tree / "etc").rmdir()
    (tree / "etc").symlink_to(link.format(outside=outside))
    before = snapshot(outside)
    with ContainedRoot(tree) as inside, pytest.raises(TerraError, match="/etc/hostname of the image's tree cannot be written"):
        inside.write("etc/hostname", b"new", mode=0o644)
    assert snapshot(outside) == before


def test_a_directory_in_the_place_is_refused(tree: Path) -> None:
    (tree / "etc/hostname/x").mkdir(parents=True)
    with ContainedRoot(tree) as inside, pytest.raises(TerraError, match="cannot be written: Is a directory"):
        inside.write("etc/hostname", b"new", mode=0o644)
    assert (tree / "etc/hostname/x").is_dir()


def test_a_loop_of_links_is_refused(tree: Path, tmp_path: Path) -> None:
    (tree / "boot").rmdir()
    (tree / "boot").symlink_to("boot")
    with ContainedRoot(tree) as inside:
        with pytest.raises(TerraError, match="/boot of the image's tree cannot be read: Too many levels of symbolic links"):
            inside.names("boot")
        with pytest.raises(TerraError, match="cannot be read: Too many levels"):
            inside.read("boot/vmlinuz", limit=LIMIT)
        with pytest.raises(TerraError, match="cannot be written: Too many levels"):
            inside.write("boot/vmlinuz", b"", mode=0o644)


def test_what_is_no_regular_file_is_refused_without_waiting_for_it(tree: Path, tmp_path: Path) -> None:
    os.mkfifo(tree / "boot/fifo")
    (tree / "boot/directory").mkdir()
    with ContainedRoot(tree) as inside:
        for name in ("fifo", "directory"):
            with pytest.raises(TerraError, match=f"/boot/{name} of the image's tree is no regular file"):
                inside.read(f"boot/{name}", limit=LIMIT)
            with pytest.raises(TerraError, match="no regular file"):
                inside.copy_out(f"boot/{name}", tmp_path / name, limit=LIMIT)
            assert not (tmp_path / name).exists()


def test_a_file_beyond_the_limit_is_refused(tree: Path, tmp_path: Path) -> None:
    with (tree / "boot/vmlinuz").open("wb") as file:
        file.truncate(1024**4)
    with ContainedRoot(tree) as inside:
        with pytest.raises(TerraError, match="has 1099511627776 bytes, the limit is 1024"):
            inside.read("boot/vmlinuz", limit=LIMIT)
        with pytest.raises(TerraError, match="the limit is 1024"):
            inside.copy_out("boot/vmlinuz", tmp_path / "copy", limit=LIMIT)
    assert not (tmp_path / "copy").exists()


def test_a_copy_that_cannot_be_made_is_said(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("here already")
    with ContainedRoot(tree) as inside:
        with pytest.raises(TerraError, match=r"cannot be copied to .*: File exists"):
            inside.copy_out("etc/hosts", tmp_path / "copy", limit=LIMIT)
        with pytest.raises(TerraError):
            inside.copy_out("etc/hosts", tmp_path / "no/such/copy", limit=LIMIT)
    assert (tmp_path / "copy").read_text() == "here already"


def test_a_name_that_is_no_text_is_found(tree: Path) -> None:
    (tree / os.fsdecode(b"boot/\xff\xfe")).write_text("x")
    with ContainedRoot(tree) as inside:
        assert inside.names("boot") == {os.fsdecode(b"\xff\xfe")}


def test_nothing_stays_open(tree: Path, outside: Path) -> None:
    (tree / "loop").symlink_to("loop")
    (tree / "big").write_bytes(bytes(LIMIT + 1))
    with nothing_held(), ContainedRoot(tree) as inside:
        for _ in range(10):
            inside.read("etc/hosts", limit=LIMIT)
            inside.names("etc")
            inside.write("x/y/z", b"", mode=0o644)
            for path in ("loop", "loop/x", "etc"):
                with pytest.raises(TerraError):
                    inside.read(path, limit=LIMIT)


def test_a_file_or_a_link_is_removed_and_what_is_missing_is_fine(tree: Path, outside: Path) -> None:
    (tree / "etc/key").write_text("key")
    (tree / "etc/link").symlink_to(outside)
    with ContainedRoot(tree) as inside:
        for name in ("etc/key", "etc/link", "etc/nothing", "nowhere/nothing"):
            inside.remove(name)
    assert not {"key", "link"} & {path.name for path in (tree / "etc").iterdir()}
    assert outside.exists()


def test_nothing_outside_is_removed(tree: Path, outside: Path) -> None:
    (outside / "key").write_text("theirs")
    (tree / "ssh").symlink_to(outside)
    with ContainedRoot(tree) as inside:
        inside.remove("ssh/key")
        with pytest.raises(TerraError, match="cannot be removed"):
            inside.remove("boot")
    assert (outside / "key").read_text() == "theirs"
