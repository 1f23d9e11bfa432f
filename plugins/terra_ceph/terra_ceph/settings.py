"""``[ceph]``: the plugin's own table."""

from __future__ import annotations

import re
from collections.abc import Iterator

from attrs import frozen

from terra_core.config.structure import Problem, has
from terra_core.config.values import MountPath, parse_share, shown

NAME = "ceph"
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@frozen(kw_only=True)
class Settings:
    """``[ceph]``.

    :param pool: the pool that the images are in; it is made by whoever runs the cluster.
    :param user: whom the cluster knows this host as, without ``client.``; each host may have one of its own.
    :param config: the file that says where the monitors of the cluster are, and the keyring of the user.
    :param reserve: how much of the pool's room is kept free for machines that there are, such as "5%" or "50GiB".
    """

    pool: str = "terra"
    user: str = "terra"
    config: MountPath = MountPath("/etc/ceph/ceph.conf")
    reserve: str = "5%"

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values."""
        for key in ("pool", "user"):
            if has(self, key) and not _WORD.fullmatch(getattr(self, key)):
                expected = "expected letters, digits, dots, hyphens and underscores, at most 64"
                yield Problem(key, f"{expected}, got {shown(getattr(self, key))}")
        if has(self, "user") and self.user.startswith("client."):
            yield Problem("user", f"expected the user without its type, {self.user.removeprefix('client.')!r}")
        if has(self, "reserve"):
            try:
                self.reserved(0)
            except ValueError as error:
                yield Problem("reserve", str(error))

    def reserved(self, size: int) -> int:
        """Return how much of the pool is kept free.

        :param size: that of the pool, in bytes.
        """
        return parse_share(self.reserve, size)
