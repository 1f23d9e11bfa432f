"""``[btrfs]``: the plugin's own table."""

from __future__ import annotations

import re
from collections.abc import Iterator

from attrs import frozen

from terra_core.config.structure import Problem
from terra_core.config.values import shown

_COMPRESSION = re.compile(r"(?:zstd(?::(?:[1-9]|1[0-5]))?|zlib(?::[1-9])?|lzo)")


@frozen(kw_only=True)
class Settings:
    """``[btrfs]``.

    :param compression: the ``compress`` mount option of btrfs(5), such as ``zstd:3``; no compression when left out.
    """

    compression: str | None = None

    @property
    def options(self) -> tuple[str, ...]:
        """The mount options that every mount of a group gets."""
        return (f"compress={self.compression}",) if self.compression else ()

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the values."""
        if self.compression is not None and not _COMPRESSION.fullmatch(self.compression):
            expected = 'expected "zstd", "zlib" or "lzo", the first two with a level if any, such as "zstd:3"'
            yield Problem("compression", f"{expected}, got {shown(self.compression)}")
