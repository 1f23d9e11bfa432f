"""``[nbd]``: the plugin's own table."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import frozen

from terra_core.config.structure import Problem, has

NAME = "nbd"
_PORTS = 65535


@frozen(kw_only=True)
class Settings:
    """``[nbd]``.

    :param first_port: the first TCP port that targets are served on.
    :param last_port: the last one.
    """

    first_port: int = 20000
    last_port: int = 29999

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values."""
        if has(self, "first_port") and not 1 <= self.first_port <= _PORTS:
            yield Problem("first_port", f"expected a port from 1 to {_PORTS}, got {self.first_port}")
        first = self.first_port if has(self, "first_port") else 1
        if has(self, "last_port") and not first <= self.last_port <= _PORTS:
            yield Problem("last_port", f"expected a port from first_port, {first}, to {_PORTS}, got {self.last_port}")
