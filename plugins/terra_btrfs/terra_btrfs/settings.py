"""``[btrfs]``: the plugin's own table."""

from __future__ import annotations

from attrs import frozen

from terra_core.config.values import Compression


@frozen(kw_only=True)
class Settings:
    """``[btrfs]``.

    :param compression: the ``compress`` mount option of btrfs(5), such as ``zstd:3``, of every group that does not say it for
        itself; no compression when left out.
    """

    compression: Compression | None = None
