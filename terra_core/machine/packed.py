"""Kernel modules as distributions pack them: plain, or by gzip, xz or zstd."""

from __future__ import annotations

import lzma

from terra_core.errors import TerraError
from terra_core.oci.compression import BROKEN, Decoder, decoder_of

_XZ_MEMORY = 1 << 28
_PIECE = 1 << 20
_BROKEN: tuple[type[Exception], ...] = (*BROKEN, lzma.LZMAError, OSError, EOFError, ValueError)


def unpacked_module(packed: bytes, path: str, *, limit: int) -> bytes:
    """Return a module as the kernel loads it, with its signature.

    :param path: its file, whose name says how it is packed.
    :param limit: the most bytes that it may have.
    :raises TerraError: when it is broken or larger.
    """
    decoder = _decoder(path)
    if decoder is None:
        return packed
    made = bytearray()
    data = packed
    try:
        while not decoder.eof:
            piece = decoder.decompress(data, _PIECE)
            data = b""
            made += piece
            if len(made) > limit:
                raise TerraError(f"/{path} of the image has more than {limit} bytes when unpacked")
            if not piece and decoder.needs_input:
                raise TerraError(f"/{path} of the image is cut off")
    except _BROKEN as error:
        raise TerraError(f"/{path} of the image is broken: {error}") from error
    return bytes(made)


def _decoder(path: str) -> Decoder | None:
    if path.endswith(".xz"):
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
    kinds = {".gz": "gzip", ".zst": "zstd"}
    return next((decoder_of(kind) for ending, kind in kinds.items() if path.endswith(ending)), None)
