"""What a service answers to its check, however it answers."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from terra_orbit.agent.health import _try
from terra_orbit.vhost import Check


@contextmanager
def service(first: bytes, again: bytes = b"") -> Iterator[int]:
    """Serve one connection on loopback with some bytes, and others again and again; yield its port."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                connection.sendall(first)
                while again and not ended.wait(0.05):
                    connection.sendall(again)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield int(listener.getsockname()[1])
        finally:
            ended.set()
            thread.join()


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (b"H", b"T"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"y"),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["status", "header", "headers", "continue"],
)
def test_a_service_that_drips_is_not_waited_for(first: bytes, again: bytes) -> None:
    began = time.monotonic()
    with service(first, again) as port:
        said = _try("127.0.0.1", port, Check(type="http", timeout=1))
    assert said == "it has not answered to GET / within 1 s"
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(("status", "said"), [(200, ""), (302, ""), (404, "it answers 404 to GET /"), (503, "it answers 503")])
def test_an_answer_counts_by_its_status(status: int, said: str) -> None:
    with service(b"HTTP/1.1 %d x\r\n\r\n" % status) as port:
        assert _try("127.0.0.1", port, Check(type="http")).startswith(said)
