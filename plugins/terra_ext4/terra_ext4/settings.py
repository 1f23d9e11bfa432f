"""``[ext4]`` and ``[xfs]``: the tables of the two plugins."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class Settings:
    """``[ext4]`` or ``[xfs]``, which have no keys: a misspelt wish must not pass in silence."""
