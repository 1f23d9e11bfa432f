"""Reading text that others wrote."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from terra_core.system.reading import decoded, lines_of, open_regular, read_regular


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", ""),
        (b"\xef\xbb\xbf", ""),
        (b"\xef\xbb\xbfa\xef\xbb\xbf", "a\ufeff"),
        (b"a\r\nb", "a\r\nb"),
        ("é\u2028".encode(), "é\u2028"),
    ],
)
def test_utf8_and_its_byte_order_mark(data: bytes, expected: str) -> None:
    assert decoded(data) == expected


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"ab\xff", "is not UTF-8 (byte 2)"),
        (b"\xef\xbb\xbfab\xff", "is not UTF-8 (byte 5)"),
        ("a".encode("utf-16"), "is UTF-16, where UTF-8 is expected"),
        (b"\xfe\xff\0a", "is UTF-16, where UTF-8 is expected"),
    ],
)
def test_what_is_not_utf8(data: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=r"^is ") as caught:
        decoded(data)
    assert str(caught.value) == said


def test_bytes_that_are_not_utf8_where_they_are_taken() -> None:
    assert decoded(b"a\xff", "surrogateescape") == "a\udcff"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("\n", [""]),
        ("a", ["a"]),
        ("a\n", ["a"]),
        ("a\r\nb\r\n", ["a", "b"]),
        ("a\n\nb", ["a", "", "b"]),
        ("a\rb", ["a\rb"]),
        ("a\vb\fc\x1cd\x85e\u2028f\u2029g", ["a\vb\fc\x1cd\x85e\u2028f\u2029g"]),
    ],
)
def test_a_line_ends_by_a_line_feed_and_nothing_else(text: str, expected: list[str]) -> None:
    assert lines_of(text) == expected


def test_regular_files_and_links_to_them(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_regular(tmp_path / "link", 7) == b"content"
    with pytest.raises(OSError, match="larger than 0 KiB"):
        read_regular(tmp_path / "file", 6)
    with pytest.raises(OSError, match="symbolic link"):
        open_regular(tmp_path / "link", follow=False)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "nothing", 7)


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    for path, kind in {"fifo": "a FIFO", "socket": "a socket", "/dev/zero": "a device", ".": "a directory"}.items():
        with pytest.raises(OSError, match=f"it is {kind}, and no file"):
            open_regular(tmp_path / path)
