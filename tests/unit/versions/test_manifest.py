"""The manifest of a version, packed and unpacked."""

from __future__ import annotations

import gzip
import os
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from terra_core.versions import manifest
from terra_core.versions.difference import What, changes
from terra_core.versions.manifest import Entry, entries, make_manifest, packed, unpacked

_MB = 1 << 20


def test_unpacking_takes_the_room_of_what_is_there() -> None:
    content = {f"usr/lib/{at}": Entry(kind="file", mode=0o644, uid=0, gid=0, size=at, content="0" * 64) for at in range(1000)}
    data = packed(content)
    tracemalloc.start()
    try:
        assert unpacked(data) == content
        assert tracemalloc.get_traced_memory()[1] < 16 * _MB, "a machine may have no more than that to spare"
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("text", [b"", b"\n", b"{}", b"[]\n", b"x" * (5 * _MB)])
def test_what_is_no_manifest_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        unpacked(gzip.compress(text))


def test_one_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = packed({str(at): Entry(kind="file", mode=0o644, uid=0, gid=0) for at in range(100)})
    monkeypatch.setattr(manifest, "_MOST_BYTES", 1000)
    with pytest.raises(ValueError, match="is too large"):
        unpacked(data)


def test_directories_deeper_than_a_path_may_be_long_hide_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    name, place = "x" * 250, os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir(name, dir_fd=place)
        below = os.open(name, os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = below
    os.close(place)
    found = dict(entries(tmp_path, left_out="none"))
    assert {"", "etc", name, f"{name}/{name}"} <= found.keys()
    assert len(found) < 20


def test_a_directory_that_a_user_makes_a_link_meanwhile_leads_nowhere(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "var/tmp/mine").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret").touch()
    found = []
    for path, _ in entries(root, left_out="none"):
        found.append(path)
        if path == "var/tmp/mine":
            (root / path).rmdir()
            (root / path).symlink_to(outside)
    assert found == ["", "var", "var/tmp", "var/tmp/mine"]


def test_what_a_user_puts_in_the_place_of_a_file_is_a_change(tmp_path: Path) -> None:
    """No FIFO is waited for, and no device read, that takes the place of a file when that was looked at."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home/note").write_bytes(b"as it was")
    laid_down = make_manifest(tmp_path, left_out="none")
    (tmp_path / "home/note").write_bytes(b"otherwise")
    seen = manifest.entries
    for swap in (lambda path: os.mkfifo(path), lambda path: path.symlink_to("/dev/zero"), lambda path: path.mkdir()):

        def swapping(root: Path, *, left_out: str, swap: Callable[[Path], None] = swap) -> Iterator[tuple[str, Entry]]:
            for path, entry in seen(root, left_out=left_out):
                if path == "home/note":
                    (root / path).unlink()
                    swap(root / path)
                yield path, entry

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("terra_core.versions.difference.entries", swapping)
            (change,) = [one for one in changes(laid_down, tmp_path, left_out="none") if one.path == "/home/note"]
        assert (change.what, change.details) == (What.CHANGED, ("content",))
        place = tmp_path / "home/note"
        place.rmdir() if place.is_dir() and not place.is_symlink() else place.unlink()
        place.write_bytes(b"otherwise")
