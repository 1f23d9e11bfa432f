"""Digests, as the OCI image specification's descriptors name them: ``sha256:<hex>`` and ``sha512:<hex>``."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from attrs import frozen

from terra_core.oci.faults import ImageError, shown

if TYPE_CHECKING:
    from hashlib import _Hash

_FORM = re.compile(r"(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})\Z")


@frozen
class Digest:
    """A digest that is well formed.

    :param algorithm: ``sha256`` or ``sha512``.
    :param encoded: the hash in lower-case hexadecimal.
    """

    algorithm: str
    encoded: str

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.encoded}"

    def hasher(self) -> _Hash:
        """Return a fresh hash of this digest's algorithm."""
        return hashlib.new(self.algorithm)

    def matches(self, content: bytes) -> bool:
        """Return whether ``content`` has this digest."""
        return hashlib.new(self.algorithm, content).hexdigest() == self.encoded


def parse_digest(text: str) -> Digest:
    """Read a digest.

    :param text: such as ``sha256:`` and 64 hexadecimal digits in lower case.
    :raises ImageError: when it has another form; nothing but these digits ever becomes a part of a path.
    """
    if not _FORM.match(text):
        raise ImageError(f"{shown(text.encode(errors='replace'))!r} is no digest such as sha256:<64 hexadecimal digits>")
    algorithm, encoded = text.split(":")
    return Digest(algorithm, encoded)


def is_digest(text: str) -> bool:
    """Return whether ``text`` is a digest that :func:`parse_digest` takes."""
    return _FORM.match(text) is not None
