"""Compressed layers: what is taken, what is refused, and what stops at a limit."""

from __future__ import annotations

import gzip
import io
import os
import tracemalloc
from collections import deque

import pytest
from backports import zstd

from terra_core.oci import ImageError, Limits
from terra_core.oci.compression import CHUNK, uncompressed

TEXT = b"".join(b"line %d\n" % number for number in range(100_000))
NOISE = os.urandom(3 * CHUNK + 1)
SKIPPABLE = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"extra"


def unpack(blob: bytes, kind: str, limits: Limits | None = None, *, portion: int = CHUNK) -> bytes:
    source = io.BytesIO(blob)
    pieces = list(uncompressed(lambda length: source.read(min(length, portion)), kind, limits or Limits()))
    assert all(0 < len(piece) <= 2 * CHUNK for piece in pieces)
    return b"".join(pieces)


@pytest.mark.parametrize("portion", [1, 7, CHUNK])
@pytest.mark.parametrize("content", [b"", b"short", TEXT[:5000]], ids=["empty", "short", "text"])
def test_small_reads_and_large_ones_give_the_same(content: bytes, portion: int) -> None:
    assert unpack(gzip.compress(content), "gzip", portion=portion) == content
    assert unpack(zstd.compress(content), "zstd", portion=portion) == content
    assert unpack(content, "plain", portion=portion) == content


@pytest.mark.parametrize("content", [TEXT, NOISE], ids=["text", "noise"])
def test_large_content(content: bytes) -> None:
    assert unpack(gzip.compress(content), "gzip") == content
    assert unpack(zstd.compress(content), "zstd") == content
    assert unpack(content, "plain") == content


@pytest.mark.parametrize("count", [2, 3000])
def test_several_members_are_one_stream(count: int) -> None:
    assert unpack(gzip.compress(b"part") * count, "gzip") == b"part" * count
    assert unpack(zstd.compress(b"part") * count, "zstd") == b"part" * count


def test_members_of_every_size_are_one_stream() -> None:
    parts = [TEXT[: length * 977] for length in range(60)]
    assert unpack(b"".join(gzip.compress(part) for part in parts), "gzip") == b"".join(parts)


def test_skippable_frames_are_passed_over() -> None:
    assert unpack(SKIPPABLE + zstd.compress(b"a") + SKIPPABLE + zstd.compress(b"b") + SKIPPABLE, "zstd") == b"ab"


GZIP = gzip.compress(TEXT, mtime=0)
ZSTD = zstd.compress(TEXT, options={zstd.CompressionParameter.checksum_flag: 1})


@pytest.mark.parametrize(
    ("blob", "kind", "message"),
    [
        (GZIP[:-1], "gzip", "cut off"),
        (GZIP[: len(GZIP) // 2], "gzip", "cut off"),
        (GZIP[:5], "gzip", "cut off"),
        (ZSTD[:-1], "zstd", "cut off"),
        (ZSTD[: len(ZSTD) // 2], "zstd", "cut off"),
        (GZIP + b"garbage", "gzip", "follows the end"),
        (GZIP + b"\0", "gzip", "follows the end"),
        (GZIP + ZSTD, "gzip", "follows the end"),
        (GZIP + b"\x1f\x8bgarbage garbage", "gzip", "broken"),
        (ZSTD + b"garbage", "zstd", "follows the end"),
        (ZSTD + b"g", "zstd", "follows the end"),
        (GZIP[:-8] + b"wrongCRC"[:4] + GZIP[-4:], "gzip", "broken"),
        (GZIP[:-4] + b"size", "gzip", "broken"),
        (ZSTD[:-4] + b"hash", "zstd", "broken"),
        (GZIP[:1000] + b"\xff" * 100 + GZIP[1100:], "gzip", "broken"),
        (GZIP, "zstd", "the content is gzip"),
        (GZIP, "plain", "the content is gzip"),
        (ZSTD, "gzip", "the content is zstd"),
        (TEXT, "gzip", "the content is plain"),
        (b"", "gzip", "the content is plain"),
    ],
    ids=lambda value: value if isinstance(value, str) else "blob",
)
def test_what_is_broken_is_refused(blob: bytes, kind: str, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        unpack(blob, kind)


BOMB_LIMITS = Limits(ratio=100, ratio_from=1 << 20)


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_bomb_is_stopped_with_bounded_memory(kind: str) -> None:
    zeros = bytes(1 << 20)
    if kind == "gzip":
        blob = gzip.compress(zeros) * 300
    else:
        packer = zstd.ZstdCompressor()
        blob = b"".join(packer.compress(zeros) for _ in range(300)) + packer.flush()
    source = io.BytesIO(blob)
    tracemalloc.start()
    try:
        pieces = uncompressed(source.read, kind, BOMB_LIMITS)
        with pytest.raises(ImageError, match="bomb"):
            deque(pieces, maxlen=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


def test_a_stream_stops_at_its_absolute_limit() -> None:
    with pytest.raises(ImageError, match="more than 1000 bytes"):
        unpack(GZIP, "gzip", Limits(total_bytes=1000))


def test_a_window_that_needs_too_much_memory_is_refused() -> None:
    huge = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 30})
    blob = huge.compress(TEXT) + huge.flush()
    with pytest.raises(ImageError, match="broken"):
        unpack(blob, "zstd")
