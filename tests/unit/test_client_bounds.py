"""Daemons that are slow, endless or no daemons: the client gives up in time, and with little memory."""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain, repeat

import pytest

from terra_core.client import connection as module
from terra_core.client.connection import Client
from terra_core.errors import TerraError
from terra_core.service import events

TOKEN = "a-token-of-the-tests"
HEAD = b"HTTP/1.1 200 OK\r\n"
STREAM = HEAD + b"Content-Type: text/event-stream\r\n\r\n"
MEGABYTE = b"x" * 1024 * 1024
SECONDS = 20


class Peer:
    """A server that says what a test wants to whoever connects."""

    def __init__(self) -> None:
        self.says: Iterable[bytes] = ()
        self.pause = 0.0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        with suppress(OSError):
            connection, _ = self.listener.accept()
            with connection:
                connection.settimeout(SECONDS)
                connection.recv(65536)  # what is not read when it closes would reset the connection
                for piece in self.says:
                    connection.sendall(piece)
                    time.sleep(self.pause)


@pytest.fixture
def peer() -> Iterator[Peer]:
    """Start a peer on loopback."""
    peer = Peer()
    yield peer
    peer.listener.shutdown(socket.SHUT_RDWR)
    peer.listener.close()
    peer.thread.join(SECONDS)
    assert not peer.thread.is_alive(), "the client still listens"


@pytest.fixture(autouse=True)
def _little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_CONNECT_SECONDS", "_HEAD_SECONDS", "_BODY_SECONDS", "_LINE_SECONDS"):
        monkeypatch.setattr(module, name, 0.5)


def get(client: Client) -> object:
    return client.get("/v1/nodes")


def follow(client: Client) -> object:
    return client.follow("x", lambda event: None)


def refused(peer: Peer, ask: Callable[[Client], object], scheme: str = "http") -> str:
    """Ask a peer; return the error."""
    begun = time.monotonic()
    with pytest.raises(TerraError) as caught:
        ask(Client(f"{scheme}://127.0.0.1:{peer.port}", token=TOKEN))
    assert time.monotonic() - begun < SECONDS
    return str(caught.value)


def drip(words: bytes) -> Iterator[bytes]:
    """Yield a byte at a time, without end."""
    return (bytes([letter]) for letter in chain(words, repeat(ord("x"))))


@pytest.mark.parametrize(
    ("ask", "begin"),
    [
        (get, b"HTTP/1.1 200 "),
        (get, HEAD + b"X-Long: "),
        (get, HEAD + b"Content-Length: 100000\r\n\r\n"),
        (get, HEAD + b"\r\n"),
        (get, b"HTTP/1.1 409 "),
        (get, b"HTTP/1.1 409 Conflict\r\n\r\n"),
        (follow, STREAM + b"data: "),
        (follow, STREAM + b": still at it\r\n\r\n: "),
    ],
)
def test_an_answer_that_drips_is_given_up(peer: Peer, ask: Callable[[Client], object], begin: bytes) -> None:
    peer.says, peer.pause = chain([begin], drip(b"")), 0.02
    assert f"127.0.0.1:{peer.port}" in refused(peer, ask)


def stream(client: Client) -> object:
    return list(client.stream("/x"))


@pytest.mark.parametrize("ask", [get, follow, stream])
@pytest.mark.parametrize("length", [b"-5", b"ZZ", b"-"])
@pytest.mark.parametrize("status", [HEAD, b"HTTP/1.1 500 Internal Server Error\r\n"])
def test_a_part_of_no_length_is_an_error_of_the_answer(
    peer: Peer, ask: Callable[[Client], object], length: bytes, status: bytes
) -> None:
    peer.says = [status + b"Transfer-Encoding: chunked\r\n\r\n" + length + b"\r\nhello\r\n0\r\n\r\n"]
    assert f"127.0.0.1:{peer.port}" in refused(peer, ask)


def test_heads_without_end_are_given_up(peer: Peer) -> None:
    peer.says, peer.pause = repeat(b"HTTP/1.1 100 Continue\r\n\r\n"), 0.02
    refused(peer, get)


def test_a_handshake_that_drips_is_given_up(peer: Peer) -> None:
    peer.says, peer.pause = chain([b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc"], drip(b"")), 0.02
    assert "does not answer" in refused(peer, get, "https")


@pytest.mark.parametrize("head", [b"Content-Length: 838860800\r\n\r\n", b"\r\n"])
@pytest.mark.parametrize("status", [HEAD, b"HTTP/1.1 500 Internal Server Error\r\n"])
def test_a_body_without_end_is_given_up(peer: Peer, monkeypatch: pytest.MonkeyPatch, status: bytes, head: bytes) -> None:
    monkeypatch.setattr(module, "_BODY_SECONDS", SECONDS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peer.says = chain([status + head], repeat(MEGABYTE, 800))
    said = refused(peer, get)
    assert "the answer is larger than 64 MiB" in said or "500 Internal Server Error" in said
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 * 1024


@pytest.mark.parametrize("line", [b"", b"data: "])
def test_an_event_without_end_is_given_up(peer: Peer, monkeypatch: pytest.MonkeyPatch, line: bytes) -> None:
    monkeypatch.setattr(module, "_LINE_SECONDS", SECONDS)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peer.says = chain([STREAM, line], repeat(MEGABYTE, 800))
    assert "the connection ended before the work did" in refused(peer, follow)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024


def test_an_event_of_lines_without_end_is_given_up(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MOST_BYTES", 1024 * 1024)
    peer.says = chain([STREAM], repeat(b"data: " + b"x" * 1000 + b"\r\n"))
    assert "the connection ended before the work did" in refused(peer, follow)


@pytest.mark.parametrize(
    "data", [b"[]", b"1", b"null", b'{"step": 1}', b'{"step": "a", "text": ["b"]}', b'{"step": "a", "text": "b", "more": 1}']
)
def test_progress_that_is_none_is_an_error(peer: Peer, data: bytes) -> None:
    peer.says = [STREAM, b"event: progress\r\ndata: " + data + b"\r\n\r\n"]
    assert "what answers there is no controller" in refused(peer, follow)


@pytest.mark.parametrize("data", [b"[]", b"1", b'"text"', b'{"problems": 1}', b'{"problems": "text"}'])
def test_a_problem_that_is_none_is_an_error_all_the_same(peer: Peer, data: bytes) -> None:
    peer.says = [STREAM, b"event: problem\r\ndata: " + data + b"\r\n\r\n"]
    assert refused(peer, follow) == "the daemon gave no reason"


def test_what_is_nested_without_end_is_an_error(peer: Peer) -> None:
    deep = b"[" * 1_000_000
    peer.says = [HEAD, b"Content-Length: %d\r\n\r\n" % len(deep), deep]
    assert "what answers there is no controller" in refused(peer, get)


def test_an_event_that_is_nested_without_end_is_an_error(peer: Peer) -> None:
    peer.says = [STREAM, b"data: " + b"[" * 1_000_000 + b"\r\n\r\n"]
    assert "the connection ended before the work did" in refused(peer, follow)


def test_an_answer_that_is_cut_short_is_no_answer(peer: Peer) -> None:
    peer.says = [HEAD + b"Content-Length: 100\r\n\r\n[]"]
    assert "the connection ended" in refused(peer, get)


def test_what_is_slow_and_right_is_taken(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BODY_SECONDS", SECONDS)
    body = b'{"a": ' + b" " * 50 + b"1}"
    peer.says, peer.pause = [HEAD + b"Content-Length: %d\r\n\r\n" % len(body), *(bytes([one]) for one in body)], 0.02
    assert get(Client(f"127.0.0.1:{peer.port}", token=TOKEN)) == {"a": 1}


def test_work_may_take_as_long_as_it_likes(peer: Peer) -> None:
    peer.says = [STREAM, *[b": still at it\r\n\r\n"] * 12, b'event: result\r\ndata: {"a": 1}\r\n\r\n']
    peer.pause = 0.1
    assert follow(Client(f"127.0.0.1:{peer.port}", token=TOKEN)) == {"a": 1}
