"""Looking into initial RAM disks: archives one after another, plain and compressed, whole and broken."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
from collections.abc import Callable, Iterator

import pytest
from backports import zstd

from terra_core.image.ramdisk import Contents, contents

SCRIPT = "scripts/terra"


def cpio(*names: str, data: bytes = b"data", magic: bytes = b"070701") -> bytes:
    """Return a newc archive of files."""
    pieces = []
    for name, content in [*((name, data) for name in names), ("TRAILER!!!", b"")]:
        raw = name.encode() + b"\0"
        fields = [1, 0o100644, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(raw), 0]
        head = magic + b"".join(b"%08X" % field for field in fields) + raw
        pieces += [head, bytes(-len(head) % 4), content, bytes(-len(content) % 4)]
    made = b"".join(pieces)
    return made + bytes(-len(made) % 512)


def looked_into(content: bytes, size: int = 1000) -> Contents:
    def pieces() -> Iterator[bytes]:
        for at in range(0, len(content), size):
            yield content[at : at + size]

    return contents(pieces())


def found(content: bytes, size: int = 1000) -> bool:
    seen = looked_into(content, size)
    assert not seen.unread
    return SCRIPT in seen.paths


WITH, WITHOUT = cpio("init", "scripts/local", SCRIPT), cpio("init", "scripts/local", "scripts/terra2", f"usr/{SCRIPT}")
PACKERS: list[Callable[[bytes], bytes]] = [
    bytes, gzip.compress, bz2.compress, lzma.compress, lambda data: lzma.compress(data, lzma.FORMAT_ALONE), zstd.compress,
]  # fmt: skip


@pytest.mark.parametrize("pack", PACKERS)
@pytest.mark.parametrize("size", [1, 7, 1000, 1 << 20])
def test_a_file_is_found_in_every_compression(pack: Callable[[bytes], bytes], size: int) -> None:
    assert found(pack(WITH), size)
    assert not found(pack(WITHOUT), size)


@pytest.mark.parametrize("pack", PACKERS)
def test_microcode_before_it_and_archives_after_it_are_read_too(pack: Callable[[bytes], bytes]) -> None:
    early = cpio("kernel/x86/microcode/GenuineIntel.bin", data=bytes(5000))
    assert found(early + pack(WITH))
    assert found(early + bytes(1024) + pack(WITHOUT) + pack(WITH))
    assert found(pack(WITHOUT) + bytes(512) + WITH)
    assert not found(early + pack(WITHOUT) + gzip.compress(WITHOUT))


def test_names_are_compared_as_paths() -> None:
    assert found(cpio(f"./{SCRIPT}"))
    assert found(cpio(f"/{SCRIPT}", magic=b"070702"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (bytes(4096), "is empty"),
        (b"an initrd", "no cpio archive"),
        (b"\x02\x21\x4c\x18" + bytes(100), "compressed by lz4"),
        (b"\x89LZO" + bytes(100), "compressed by lzo"),
        (WITHOUT[:200], "cut off"),
        (gzip.compress(WITHOUT, mtime=0)[:-20], "cut off|broken"),
        (zstd.compress(WITHOUT)[:40], "cut off|broken"),
        (b"\x1f\x8b" + b"garbage" * 50, "broken"),
        (b"070701" + b"zzzzzzzz" * 13, "broken"),
        (b"070701" + b"FFFFFFFF" * 13 + b"x" * 100, "no cpio archive"),
        (gzip.compress(b"no archive", mtime=0), "no cpio archive"),
        (gzip.compress(gzip.compress(WITH, mtime=0), mtime=0), "no cpio archive"),
        (cpio("init") + b"rubbish", "no cpio archive"),
    ],
)
def test_what_cannot_be_read_says_so(content: bytes, reason: str) -> None:
    assert re.search(reason, looked_into(content).unread)


def test_what_comes_before_something_that_cannot_be_read_is_known() -> None:
    seen = looked_into(WITH + b"rubbish")
    assert SCRIPT in seen.paths
    assert "no cpio archive" in seen.unread


def test_programs_are_found_where_scripts_find_them() -> None:
    seen = looked_into(cpio("usr/sbin/iscsistart", "usr/bin/sh", "opt/bin/btrfs"))
    assert seen.has_program("iscsistart")
    assert seen.has_program("sh")
    assert not seen.has_program("btrfs")


def test_an_archive_of_endless_files_is_given_up() -> None:
    assert "more than 200000 files" in looked_into(cpio(*map(str, range(200_001)), data=b""), 1 << 20).unread
