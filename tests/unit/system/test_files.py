"""Files that are complete or not there."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from terra_core.system import files
from terra_core.system.files import output_file, remove_unfinished, replacing, replacing_in, write_file
from terra_core.system.locks import try_lock


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    former = os.umask(0o027)
    yield
    os.umask(former)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_it_is_there_with_all_of_its_content_and_nothing_beside_it(tmp_path: Path) -> None:
    write_file(tmp_path / "a", b"one")
    write_file(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"two"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize(("mode", "expected"), [(None, 0o640), (0o644, 0o644), (0o600, 0o600), (0o755, 0o755)])
def test_its_mode_is_the_one_asked_for_or_the_umasks(tmp_path: Path, mode: int | None, expected: int) -> None:
    write_file(tmp_path / "a", b"", mode=mode)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == expected


def test_a_private_file_is_private_while_it_is_written(tmp_path: Path) -> None:
    with replacing(tmp_path / "a", mode=0o600) as file:
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600


def test_the_former_file_stays_until_the_new_one_is_complete(tmp_path: Path) -> None:
    write_file(tmp_path / "a", b"one")
    with replacing(tmp_path / "a") as file:
        file.write(b"tw")
        file.flush()
        assert (tmp_path / "a").read_bytes() == b"one"
        file.write(b"o")
    assert (tmp_path / "a").read_bytes() == b"two"


def test_what_goes_wrong_meanwhile_leaves_everything_as_it_was(tmp_path: Path) -> None:
    write_file(tmp_path / "a", b"one")
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a") as file:  # noqa: PT012  # what goes wrong goes wrong late
        file.write(b"two")
        raise ZeroDivisionError
    assert (tmp_path / "a").read_bytes() == b"one"
    assert names(tmp_path) == ["a"]


def test_a_disk_that_cannot_take_it_leaves_everything_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_file(tmp_path / "a", b"one")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_file(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"one"
    assert names(tmp_path) == ["a"]


def test_a_new_file_takes_no_others_place(tmp_path: Path) -> None:
    write_file(tmp_path / "a", b"one", new=True)
    with pytest.raises(FileExistsError):
        write_file(tmp_path / "a", b"two", new=True)
    assert (tmp_path / "a").read_bytes() == b"one"
    assert names(tmp_path) == ["a"]


def test_what_a_killed_writer_left_goes(tmp_path: Path) -> None:
    (tmp_path / ".a.new").write_bytes(b"half of something long")
    write_file(tmp_path / "a", b"one")
    assert (tmp_path / "a").read_bytes() == b"one"
    assert names(tmp_path) == ["a"]
    (tmp_path / ".a.new").write_bytes(b"half")
    remove_unfinished(tmp_path / "a")
    remove_unfinished(tmp_path / "a")
    assert names(tmp_path) == ["a"]


def test_no_link_is_written_through(tmp_path: Path) -> None:
    write_file(tmp_path / "precious", b"mine")
    (tmp_path / ".a.new").symlink_to("precious")
    (tmp_path / "a").symlink_to("precious")
    write_file(tmp_path / "a", b"one")
    assert (tmp_path / "precious").read_bytes() == b"mine"
    assert not (tmp_path / "a").is_symlink()


def test_a_writer_waits_for_the_other(tmp_path: Path) -> None:
    with replacing(tmp_path / "a") as file:
        other = threading.Thread(target=write_file, args=(tmp_path / "a", b"two"))
        other.start()
        other.join(0.3)
        assert other.is_alive()
        file.write(b"one")
    other.join(10)
    assert (tmp_path / "a").read_bytes() == b"two"
    assert names(tmp_path) == ["a"]


def test_many_writers_leave_one_whole_file(tmp_path: Path) -> None:
    contents = [bytes([at]) * 4096 for at in range(24)]
    threads = [threading.Thread(target=write_file, args=(tmp_path / "a", content)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (tmp_path / "a").read_bytes() in contents
    assert names(tmp_path) == ["a"]


def test_one_that_was_taken_for_the_rest_of_a_killed_one_is_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between making the file and locking it, another writer looks."""
    looked: list[int] = []

    def interrupting(descriptor: int) -> bool:
        if not looked:
            looked.append(descriptor)
            (tmp_path / ".a.new").unlink()
        return try_lock(descriptor)

    monkeypatch.setattr(files, "try_lock", interrupting)
    write_file(tmp_path / "a", b"one")
    assert looked
    assert (tmp_path / "a").read_bytes() == b"one"


def test_errors_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(IsADirectoryError) as refused:
        write_file(tmp_path / "a", b"one")
    assert refused.value.filename == str(tmp_path / "a")
    assert names(tmp_path) == ["a"]
    with pytest.raises(FileNotFoundError):
        write_file(tmp_path / "nowhere/a", b"one")


def test_in_a_directory_that_is_open(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        with replacing_in(directory, "a", mode=0o644) as file:
            file.write(b"one")
    finally:
        os.close(directory)
    assert (tmp_path / "a").read_bytes() == b"one"


def test_what_a_user_names_may_be_a_link_or_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "a").symlink_to("real/a")
    with output_file(tmp_path / "a") as file:
        file.write(b"one")
    assert (tmp_path / "a").is_symlink()
    assert (tmp_path / "real/a").read_bytes() == b"one"
    with output_file(Path("/dev/null")) as file:
        file.write(b"one")
    assert Path("/dev/null").is_char_device()


def test_links_that_lead_to_each_other_are_an_error_of_the_file(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(OSError, match="Too many levels of symbolic links"), output_file(loop):
        pass
