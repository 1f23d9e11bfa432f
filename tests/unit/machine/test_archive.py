"""Archives for initial RAM disks: what they hold, and what they must not."""

from __future__ import annotations

import gzip

from terra_core.image.ramdisk import contents
from terra_core.machine.archive import File, join_archives, make_archive

FILES = {
    "usr/lib/terra/steps/mount": File(content=b"echo\n"),
    "lib/udev/rules.d/60-x.rules": File(content=b"# rules"),
    "init.d": File(content=b"", mode=0o755),
}


def entries(archive: bytes) -> dict[str, tuple[int, bytes]]:
    """Mode and content by path, read as cpio(5) describes "newc"."""
    found: dict[str, tuple[int, bytes]] = {}
    data, at = gzip.decompress(archive), 0
    while True:
        assert at % 4 == 0
        assert data[at : at + 6] == b"070701"
        fields = [int(data[at + 6 + 8 * number : at + 14 + 8 * number], 16) for number in range(13)]
        name = data[at + 110 : at + 110 + fields[11]]
        assert name.endswith(b"\0")
        at += 110 + fields[11]
        at += -at % 4
        if name == b"TRAILER!!!\0":
            assert not data[at:].strip(b"\0")
            return found
        assert fields[2:4] == [0, 0], "all of it belongs to root"
        assert fields[5] == 0, "a time would make two archives of the same files differ"
        found[name[:-1].decode()] = fields[1], data[at : at + fields[6]]
        at += fields[6]
        at += -at % 4


def test_files_are_whole_and_directories_come_first() -> None:
    found = entries(make_archive(FILES))
    assert {path: content for path, (mode, content) in found.items() if mode >> 12 == 8} == {
        path: file.content for path, file in FILES.items()
    }
    assert found["init.d"][0] == 0o100755
    assert found["usr/lib/terra/steps"] == (0o040755, b"")
    names = list(found)
    assert all(names.index(path.rpartition("/")[0]) < names.index(path) for path in names if path.startswith("usr/"))


def test_no_entry_takes_the_place_of_a_link_that_a_merged_system_has() -> None:
    assert "lib" not in entries(make_archive(FILES))
    assert "lib/udev" in entries(make_archive(FILES))


def test_the_same_files_make_the_same_archive() -> None:
    assert make_archive(FILES) == make_archive(dict(reversed(FILES.items())))


def test_joined_archives_are_read_as_one() -> None:
    first = make_archive({"one": File(content=b"1")})
    joined = join_archives(first, make_archive({"two": File(content=b"2")}))
    assert contents(iter([joined])).paths == {"one", "two"}
    assert contents(iter([joined])).unread == ""
    assert len(joined) % 4 == len(make_archive({"two": File(content=b"2")})) % 4
