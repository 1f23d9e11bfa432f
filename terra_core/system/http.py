"""HTTP with a time limit for each part of an answer: the timeouts of requests bound only the pauses between reads.

Slow to import: import it where it is used.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from terra_core.system.deadline import Deadline

_CONNECT_SECONDS = 60.0
"""Seconds for the whole connection: names, all addresses of a host, a proxy and TLS; each step has its own limit besides."""
_SHORTEST = 0.05


class BoundedAdapter(HTTPAdapter):
    """An adapter whose timeout is that of the whole head of an answer, in however many pieces that is sent."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:  # the signature of requests
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: Any, **options: Any) -> Any:  # the signature of requests
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = _POOLS
        return manager


class BoundedSession(requests.Session):
    """A session that bounds the time for the head of an answer, and follows no redirect."""

    def __init__(self) -> None:
        super().__init__()
        self.mount("https://", BoundedAdapter())
        self.mount("http://", BoundedAdapter())

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return no target, because requests would read the whole body of the redirect before following it."""


def read_body(response: requests.Response, most: int, seconds: float) -> bytes:
    """Return the short body of an answer that was opened as a stream; close the answer when that fails.

    :param most: bytes; one more is returned where there are more.
    :param seconds: for all of it.
    :raises TimeoutError: when it takes longer.
    :raises urllib3.exceptions.HTTPError: as the library does; :class:`OSError` and :class:`ValueError` likewise.
    """
    content = b""
    with Deadline(seconds, lambda: hang_up(response)) as deadline:
        try:
            while piece := response.raw.read1(most + 1 - len(content), decode_content=False):
                content += piece
                if len(content) > most:
                    break
        except Exception:
            response.close()
            if not deadline.passed:
                raise
    if deadline.passed:
        response.close()
        raise TimeoutError
    return content


def hang_up(response: requests.Response) -> None:
    """Shut the connection of an answer down, so that whoever reads its body finds the end; may be called in any thread."""
    with suppress(OSError, RuntimeError, ValueError, AttributeError):  # it has ended by itself
        response.raw.shutdown()


class _Bounded(HTTPConnection):
    """A connection to a server or a proxy."""

    def connect(self) -> None:
        with Deadline(_CONNECT_SECONDS, self._cut) as deadline:
            super().connect()
        if deadline.passed:
            raise TimeoutError

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as urllib3 itself has it
        seconds = max(self.timeout, _SHORTEST) if isinstance(self.timeout, int | float) else _CONNECT_SECONDS
        deadline = Deadline(seconds, self._cut)
        try:
            with deadline:
                response = super().getresponse()
        except Exception as error:
            if deadline.passed:
                raise TimeoutError from error
            raise
        if deadline.passed:  # a connection that was shut down looks like the end of the head
            response.close()
            raise TimeoutError
        return response

    def _cut(self) -> None:
        connection: socket.socket | None = self.sock
        if connection is not None:
            connection.shutdown(socket.SHUT_RDWR)


class _BoundedTls(_Bounded, HTTPSConnection):
    """The same, with TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Bounded


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _BoundedTls


_POOLS: dict[str, Any] = {"http": _Pool, "https": _TlsPool}
