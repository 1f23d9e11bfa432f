"""Compressed layers: gzip (RFC 1952), zstd (RFC 8878) or plain, told apart by magic bytes.

Inflating is most of the work of an install, hence ISA-L for gzip, which is twice as fast as zlib. Both decoders stop at a
given number of bytes, so that the limits stop a bomb before it fills the memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Protocol

from isal import igzip_lib

from terra_core.oci.faults import ImageError
from terra_core.oci.limits import Limits

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

CHUNK = 256 << 10
"""How many bytes are read, and at most given, at a time."""

_SMALL = 16 << 10
GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
_WINDOW_LOG = 27
# isal's stub says that its exception is an instance.
BROKEN: tuple[type[Exception], ...] = (igzip_lib.IsalError, zstd.ZstdError)  # type: ignore[assignment]
"""What a decoder raises when the content is broken."""

Read = Callable[[int], bytes]
"""Returns at most so many bytes, and nothing at the end."""


class Decoder(Protocol):
    """Inflates a stream piece by piece, up to a given length."""

    @property
    def needs_input(self) -> bool: ...
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes | memoryview, max_length: int, /) -> bytes: ...


def uncompressed(read: Read, kind: str, limits: Limits) -> Iterator[bytes]:
    """Yield the uncompressed bytes of a layer, in pieces of at most :data:`CHUNK` bytes.

    :param read: gives the bytes of the blob.
    :param kind: what the layer's media type says: ``gzip``, ``zstd`` or ``plain``.
    :param limits: the length and the ratio at which to stop.
    :raises ImageError: when the content is of another kind, broken, cut off, followed by something else, or too large.
    """
    source = _Source(read)
    found = kind_of(source.peek(4))
    if found != kind:
        raise ImageError(f"the content is {found}, but its media type says {kind}")
    pieces = source.rest() if kind == "plain" else _gathered(_members(source, kind))
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > limits.total_bytes:
            raise ImageError(f"more than {limits.total_bytes} bytes when uncompressed")
        if total > limits.ratio_from and total > limits.ratio * source.done:
            raise ImageError(f"a compression bomb: {source.done} bytes became more than {limits.ratio} times as many")
        yield piece


class _Source:
    """The compressed bytes, read in chunks, with a position inside the chunk."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._chunk = b""
        self._position = 0
        self.done = 0

    def peek(self, length: int) -> bytes:
        """Return the next ``length`` bytes, or what is left, without taking them."""
        while len(self._chunk) - self._position < length and (more := self._read(CHUNK)):
            self._chunk = self._chunk[self._position :] + more
            self._position = 0
        return self._chunk[self._position : self._position + length]

    def take(self, length: int) -> memoryview:
        """At most ``length`` bytes; none at the end."""
        if self._position == len(self._chunk):
            self._chunk = self._read(CHUNK)
            self._position = 0
        taken = memoryview(self._chunk)[self._position : self._position + length]
        self._position += len(taken)
        self.done += len(taken)
        return taken

    def give_back(self, length: int) -> None:
        """Put back the last ``length`` bytes of what was taken last."""
        self._position -= length
        self.done -= length

    def rest(self) -> Iterator[bytes]:
        """Yield all that is left."""
        while piece := self.take(CHUNK):
            yield bytes(piece)


def _members(source: _Source, kind: str) -> Iterator[bytes]:
    step = CHUNK
    while True:
        yield from _member(source, decoder_of(kind), kind, step)
        following = source.peek(4)
        if not following:
            return
        if kind_of(following) != kind:
            raise ImageError(f"something follows the end of the {kind} data")
        # Seekable formats have many members: each copies the rest of what it was given, so give it little.
        step = _SMALL


def _member(source: _Source, decoder: Decoder, kind: str, step: int) -> Iterator[bytes]:
    nothing = memoryview(b"")
    while not decoder.eof:
        data = source.take(step) if decoder.needs_input else nothing
        if decoder.needs_input and not data:
            raise ImageError(f"the {kind} data is cut off")
        try:
            piece = decoder.decompress(data, CHUNK)
        except BROKEN as error:
            raise ImageError(f"the {kind} data is broken: {error}") from error
        if piece:
            yield piece
    source.give_back(len(decoder.unused_data))


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    held: list[bytes] = []
    length = 0
    for piece in pieces:
        if not held and len(piece) >= CHUNK // 2:
            yield piece
            continue
        held.append(piece)
        length += len(piece)
        if length >= CHUNK // 2:
            yield b"".join(held)
            held, length = [], 0
    if held:
        yield b"".join(held)


def decoder_of(kind: str) -> Decoder:
    """Return a decoder for ``gzip`` or ``zstd``, with a window that is bounded."""
    if kind == "gzip":
        return igzip_lib.IgzipDecompressor(igzip_lib.DECOMP_GZIP)
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})


def kind_of(magic: bytes) -> str:
    """Return the compression of a stream by its first four bytes: ``gzip``, ``zstd`` or ``plain``."""
    if magic.startswith(GZIP):
        return "gzip"
    skippable = len(magic) == 4 and magic[1:] == b"\x2a\x4d\x18" and magic[0] >> 4 == 5
    return "zstd" if magic == ZSTD or skippable else "plain"
