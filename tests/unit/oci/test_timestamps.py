"""Layers with no time later than a given one."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from terra_core.oci import ImageError
from terra_core.oci.timestamps import clamped, rfc3339

EPOCH = 1_000_000_000


def layer(*entries: tuple[str, float, bytes], kind: int = tarfile.PAX_FORMAT) -> bytes:
    """Return a layer of files with these names, times and contents."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
        for name, mtime, content in entries:
            info = tarfile.TarInfo(name)
            info.mtime, info.size, info.mode, info.uid = mtime, len(content), 0o4755, 12
            info.pax_headers = {"SCHILY.xattr.user.note": "kept"} if kind == tarfile.PAX_FORMAT else {}
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def pieces(content: bytes, length: int = 700) -> Iterator[bytes]:
    """Return the content, a few bytes at a time."""
    return (content[at : at + length] for at in range(0, len(content), length))


def clamp(content: bytes, length: int = 700) -> bytes:
    """Return the content with its times clamped."""
    return b"".join(clamped(pieces(content, length), EPOCH))


def test_later_times_are_set_and_all_else_stays() -> None:
    content = bytes(range(256)) * 5
    files = [("old", 5, b"x"), ("new", EPOCH + 5, content), ("fraction", EPOCH + 0.25, b""), ("é" * 200, EPOCH + 9, b"long")]
    before = layer(*files)
    with tarfile.open(fileobj=io.BytesIO(clamp(before))) as archive:
        found = {member.name: member for member in archive}
        assert {name: member.mtime for name, member in found.items()} == {
            "old": 5, "new": EPOCH, "fraction": EPOCH, "é" * 200: EPOCH,
        }  # fmt: skip
        assert found["new"].mode == 0o4755
        assert found["new"].uid == 12
        assert found["new"].pax_headers["SCHILY.xattr.user.note"] == "kept"
        reader = archive.extractfile("new")
        assert reader is not None
        assert reader.read() == content


@pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_layer_without_later_times_keeps_every_byte(kind: int) -> None:
    content = layer(("a" * 150, EPOCH, b"1"), ("b", 0, b"2" * 513), kind=kind)
    assert clamp(content) == content


def test_two_builds_at_two_times_are_one_layer() -> None:
    assert clamp(layer(("etc/", EPOCH + 100, b""))) == clamp(layer(("etc/", EPOCH + 7777777, b"")))


@given(st.binary(max_size=2000), st.integers(1, 600))
def test_how_it_comes_does_not_matter(content: bytes, length: int) -> None:
    whole = layer(("file", EPOCH + 1.5, content))
    assert clamp(whole, length) == clamp(whole, len(whole))


@pytest.mark.parametrize("content", [b"x" * 512, b"x" * 100, layer(("a", 1, b"x" * 600))[:1600]])
def test_what_is_no_tar_is_refused(content: bytes) -> None:
    with pytest.raises(ImageError):
        clamp(content)


def test_times_are_written_as_rfc_3339_says() -> None:
    assert rfc3339(EPOCH) == "2001-09-09T01:46:40Z"
