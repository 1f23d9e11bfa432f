"""Bytes that are compared with their descriptor while they are read, so that they go through memory once."""

from __future__ import annotations

from collections.abc import Callable

from terra_core.oci.documents import Descriptor
from terra_core.oci.faults import ImageError

Read = Callable[[int], bytes | None]
"""Returns at most so many bytes, and nothing at the end."""


class VerifiedBlob:
    """A blob that is hashed as it is read; its end is reported only when size and digest are right.

    :param read: gives the bytes.
    :param descriptor: what they have to be.
    """

    def __init__(self, read: Read, descriptor: Descriptor) -> None:
        self._read = read
        self._descriptor = descriptor
        self._hasher = descriptor.digest.hasher()
        self._left = descriptor.size

    def read(self, length: int) -> bytes:
        """Return the next bytes; see :meth:`terra_core.oci.source.Blob.read`.

        :raises ImageError: when the blob is longer or shorter than its descriptor says, or has another digest.
        """
        piece = self._read(length) or b""
        self._left -= len(piece)
        if self._left < 0 or (not piece and self._left):
            raise ImageError(f"it is {'longer' if self._left < 0 else 'shorter'} than {self._descriptor.size} bytes")
        self._hasher.update(piece)
        if not piece and self._hasher.hexdigest() != self._descriptor.digest.encoded:
            raise ImageError(f"its content has another digest, {self._descriptor.digest.algorithm}:{self._hasher.hexdigest()}")
        return piece
