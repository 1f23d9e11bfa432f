"""The manifest of a version, packed and unpacked."""

from __future__ import annotations

import gzip
import os
import tracemalloc
from pathlib import Path

import pytest

from terra_core.versions import manifest
from terra_core.versions.manifest import Entry, entries, packed, unpacked

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
