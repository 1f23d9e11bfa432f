"""Directories and files below a root whose content is not trusted."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from terra_core.system.openat import directory_below, file_below
from terra_core.system.reading import NotRegularError, open_regular, read_regular


def test_a_file_is_read_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c").write_bytes(b"content")
    with file_below(tmp_path, "a/b/c") as file:
        assert file.read() == b"content"


@pytest.mark.parametrize("path", ["a/link", "up/c", "a/../a/real", "link/real"])
def test_no_link_is_followed_below_the_root(tmp_path: Path, path: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/real").write_bytes(b"content")
    (tmp_path / "a/link").symlink_to("real")
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "up").symlink_to("..")
    if path == "a/../a/real":
        with file_below(tmp_path, path) as file:
            assert file.read() == b"content"
        return
    with pytest.raises(OSError, match="symbolic links") as refused, file_below(tmp_path, path):
        pass
    assert refused.value.errno == errno.ELOOP
    assert refused.value.filename == str(tmp_path / path)


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "a/../../outside"])
def test_no_path_leads_out(tmp_path: Path, path: str) -> None:
    (tmp_path / "root/a").mkdir(parents=True)
    (tmp_path / "outside").write_bytes(b"mine")
    with pytest.raises(OSError, match="cross-device"), file_below(tmp_path / "root", path):
        pass


def test_the_root_itself_may_be_reached_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/a").write_bytes(b"content")
    (tmp_path / "link").symlink_to("real")
    with file_below(tmp_path / "link", "a") as file:
        assert file.read() == b"content"


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a").mkdir()
    for name, what in (("pipe", "a FIFO"), ("a", "a directory")):
        with pytest.raises(NotRegularError, match=f"it is {what}, and no file"), file_below(tmp_path, name):
            pass
        with pytest.raises(NotRegularError, match=f"it is {what}, and no file"):
            open_regular(tmp_path / name)
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(NotRegularError, match="it is a symbolic link"):
        read_regular(tmp_path / "link", 10, follow=False)


def test_directories_are_made_where_they_are_missing_and_asked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as refused, directory_below(tmp_path, "a/b"):
        pass
    assert refused.value.filename == str(tmp_path / "a/b")
    for _ in range(2):
        with directory_below(tmp_path, "a/b", make=0o700) as directory:
            assert os.path.samestat(os.fstat(directory), (tmp_path / "a/b").stat())
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
    with directory_below(tmp_path, "") as directory:
        assert os.listdir(directory) == ["a"]  # noqa: PTH208  # pathlib lists no descriptor


def test_no_directory_is_made_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root/a").symlink_to(tmp_path)
    with pytest.raises(OSError, match="symbolic links"), directory_below(tmp_path / "root", "a/b", make=0o700):
        pass
    assert not (tmp_path / "b").exists()


def test_a_file_in_place_of_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(NotADirectoryError), directory_below(tmp_path, "a", make=0o700):
        pass


def test_a_missing_root_is_no_defect(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), directory_below(tmp_path / "nowhere", "a", make=0o700):
        pass
    assert not (tmp_path / "nowhere").exists()
