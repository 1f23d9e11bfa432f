"""The engine's answer to a long request: one JSON record after another, until the reader stops."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import requests
from docker import APIClient

_LAST_WORDS_SECONDS = 30

Record = dict[str, Any]
"""As the engine sent it; the Docker Engine API names the keys."""


@contextmanager
def records(client: APIClient, request: Callable[[], Iterable[Record]]) -> Iterator[Iterator[Record]]:
    """Read the records that answer ``request``; leaving early tells the engine to stop, and waits until it has.

    :param request: calls the client with ``stream=True, decode=True``.
    """
    answers: list[requests.Response] = []

    def keep(response: requests.Response, *_: object, **__: object) -> None:
        answers.append(response)

    # The SDK gives a generator and keeps the response to itself.
    client.hooks["response"] = [keep]
    try:
        yield iter(request())
    except BaseException:
        for answer in answers:
            _hang_up(answer)
        raise
    finally:
        client.hooks["response"] = []


def _hang_up(answer: requests.Response) -> None:
    """Close our side of the connection, on which the engine cancels the work, and read on until it has closed its own."""
    with suppress(OSError):
        connection: socket.socket | None = getattr(answer.raw.connection, "sock", None)
        if connection is not None:
            deadline = time.monotonic() + _LAST_WORDS_SECONDS
            connection.settimeout(_LAST_WORDS_SECONDS)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536) and time.monotonic() < deadline:
                pass
    answer.close()
