"""``[ipxe]`` of controller.toml."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import ClassVar

from attrs import frozen

from terra_core.config.structure import Problem, has
from terra_core.config.values import shown
from terra_tftp import settings as tftp

_LEAST_PORT = 1024
_MOST_PORT = 65535


@frozen(kw_only=True)
class Settings(tftp.Settings):
    """``[ipxe]``: the keys of ``[tftp]``, and its own.

    :param port: the TCP port of the HTTP server.
    :param http_user: the user that the HTTP server runs as.
    :param loaders: the directory of this machine that has iPXE.
    """

    table: ClassVar[str] = "ipxe"

    port: int = 8069
    http_user: str = "www-data"
    loaders: str = "/usr/lib/ipxe"

    def problems(self) -> Iterator[Problem]:
        """Return what is wrong with and between the fields that are of the right kind."""
        yield from super().problems()
        if has(self, "port") and not _LEAST_PORT <= self.port <= _MOST_PORT:
            yield Problem("port", f"expected a port from {_LEAST_PORT} to {_MOST_PORT}, which needs no root, got {self.port}")
        if has(self, "http_user"):
            if not tftp.is_user(self.http_user):
                yield Problem("http_user", f'expected the name of a user, such as "www-data", got {shown(self.http_user)}')
            elif self.http_user == "root":
                yield Problem("http_user", "expected another user than root")
        if has(self, "loaders") and not PurePosixPath(self.loaders).is_absolute():
            yield Problem("loaders", f'expected an absolute path, such as "/usr/lib/ipxe", got {shown(self.loaders)}')
