"""Peers that are silent, slow, many or deaf: each is bounded, and others are served meanwhile."""

from __future__ import annotations

import asyncio
import resource
import socket
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from litestar import Request, WebSocket, get, post, websocket
from litestar.response import Stream

from terra_core.service.access import address_of
from terra_core.service.connections import Limits, limits_of_process, source_of
from terra_core.system.waiting import wait_until
from tests.unit.service.serving_lab import PATIENCE, TOKEN, Served, is_ended, make_tls, served

SHORT = Limits(connections=8, head=0.5, body=0.5, reading=0.5)
LONG = Limits(connections=8, head=PATIENCE * 2, body=PATIENCE * 2, reading=PATIENCE * 2)


@get("/v1/short", sync_to_thread=False)
def short() -> dict[str, str]:
    """Answer at once."""
    return {}


@get("/v1/from", sync_to_thread=False)
def told(request: Request[Any, Any, Any]) -> dict[str, str]:
    """Say where a request comes from, as the audit log has it."""
    return {"address": address_of(request.scope), "scheme": request.scope["scheme"]}


@post("/v1/body")
async def take(request: Request[Any, Any, Any]) -> dict[str, int]:
    """Read a body."""
    return {"size": len(await request.body())}


@get("/v1/endless")
async def endless() -> Stream:
    """Answer without end."""

    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield bytes(65536)
            await asyncio.sleep(0)

    return Stream(pieces())


@websocket("/v1/echo")
async def echo(socket: WebSocket[Any, Any, Any]) -> None:
    """Send back what is received, without end."""
    await socket.accept()
    while True:
        await socket.send_text(await socket.receive_text())


ROUTES = (short, take, endless, echo)


@pytest.fixture
def quick() -> Iterator[Served]:
    """Start a daemon with short time limits."""
    with served(ROUTES, limits=SHORT, websockets=True) as daemon:
        yield daemon


@pytest.fixture
def patient() -> Iterator[Served]:
    """Start a daemon with long time limits, and room for eight."""
    with served(ROUTES, limits=LONG, websockets=True) as daemon:
        yield daemon


def drip(connection: socket.socket, begin: bytes = b"") -> None:
    """Send a byte now and then until the other end has had enough."""
    deadline = time.monotonic() + PATIENCE
    for letter in chain(begin, repeat(ord("x"))):
        assert time.monotonic() < deadline
        try:
            connection.sendall(bytes([letter]))
        except ConnectionError:
            return
        time.sleep(0.02)


def test_who_says_nothing_is_not_waited_for(quick: Served) -> None:
    with quick.connect() as connection:
        assert is_ended(connection)


def test_who_says_nothing_after_an_answer_is_not_waited_for(quick: Served) -> None:
    with quick.asked("GET /v1/short") as connection:
        assert connection.recv(12).endswith(b" 200")
        assert is_ended(connection)


@pytest.mark.parametrize("begun", [b"", b"GET /v1/short HTTP/1.1\r\nHost: x\r\n", b"GET /v1/short HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_headers_that_drip_give_no_more_time(quick: Served, begun: bytes) -> None:
    with quick.connect() as connection:
        connection.sendall(begun)
        drip(connection, b"GET /v1/short HTTP/1.1\r\nX-Long: ")


@pytest.mark.parametrize("token", [TOKEN, "wrong"])
def test_a_body_that_drips_gives_no_more_time(quick: Served, token: str) -> None:
    with quick.asked("POST /v1/body", b"Content-Length: 100000\r\n\r\n", token=token) as connection:
        drip(connection)


def test_who_does_not_read_is_not_waited_for(quick: Served) -> None:
    with quick.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(f"GET /v1/endless HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
        drip(connection)  # what the peer sends does not count


def test_who_reads_is_served_for_as_long_as_it_takes(quick: Served) -> None:
    with quick.asked("GET /v1/endless") as connection:
        end = time.monotonic() + 3 * SHORT.reading
        while time.monotonic() < end:
            assert connection.recv(65536)


def test_the_one_that_waited_longest_makes_room(patient: Served) -> None:
    with ExitStack() as stack:
        silent = [stack.enter_context(patient.connect()) for _ in range(30)]
        assert patient.status("GET /v1/short") == 200
        assert all(is_ended(connection) for connection in silent[:22])
        silent[-1].sendall(f"GET /v1/short HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
        assert silent[-1].recv(12).endswith(b" 200"), "there was room for those that came last"


def test_who_is_at_work_makes_room_for_nobody(patient: Served) -> None:
    with ExitStack() as stack:
        busy = [stack.enter_context(patient.asked("GET /v1/endless")) for _ in range(8)]
        assert all(connection.recv(12).endswith(b" 200") for connection in busy)
        with patient.connect() as connection:
            assert is_ended(connection)
        assert all(connection.recv(65536) for connection in busy)
        busy.pop().close()
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                assert patient.status("GET /v1/short") == 200
            except (ConnectionError, IndexError):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            else:
                break


@pytest.fixture
def fair() -> Iterator[Served]:
    """Start a daemon with room for eight, three of them from one address."""
    with served(ROUTES, limits=evolve(LONG, each=3)) as daemon:
        yield daemon


def connect_from(address: str, daemon: Served) -> socket.socket:
    return socket.create_connection(("127.0.0.1", daemon.port), timeout=PATIENCE, source_address=(address, 0))


def ask(connection: socket.socket, path: str = "/v1/short") -> bytes:
    """Send a request; return the beginning of the answer, which is empty when the connection was closed."""
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
    return connection.recv(12)


def test_one_address_has_a_bound_of_its_own(fair: Served) -> None:
    with ExitStack() as stack:
        hostile = [stack.enter_context(connect_from("127.0.0.2", fair)) for _ in range(20)]
        assert all(is_ended(connection) for connection in hostile[:17])
        others = [stack.enter_context(connect_from("127.0.0.3", fair)) for _ in range(3)]
        for connection in (*others, *hostile[17:]):
            assert ask(connection).endswith(b" 200"), "none of these was closed for another one"


def test_an_address_that_is_at_work_on_as_many_as_it_may_have_gets_no_more(fair: Served) -> None:
    with ExitStack() as stack:
        busy = [stack.enter_context(connect_from("127.0.0.2", fair)) for _ in range(3)]
        assert all(ask(connection, "/v1/endless").endswith(b" 200") for connection in busy)
        assert is_ended(stack.enter_context(connect_from("127.0.0.2", fair)))
        assert ask(stack.enter_context(connect_from("127.0.0.3", fair))).endswith(b" 200")
        busy.pop().close()
        wait_until(lambda: _answers("127.0.0.2", fair), seconds=PATIENCE, what="a place to be free again")


def _answers(address: str, daemon: Served) -> bool:
    try:
        with connect_from(address, daemon) as connection:
            return ask(connection).endswith(b" 200")
    except ConnectionError:
        return False


def test_of_many_addresses_the_one_that_has_the_most_makes_room(fair: Served) -> None:
    with ExitStack() as stack:
        machine = stack.enter_context(connect_from("127.0.0.9", fair))
        hostile = [stack.enter_context(connect_from(f"127.0.0.{2 + at // 3}", fair)) for at in range(9)]
        assert is_ended(hostile[0])
        assert is_ended(hostile[3])
        assert ask(machine).endswith(b" 200")


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("10.0.10.20", "10.0.10.20"),
        ("::ffff:10.0.10.20", "10.0.10.20"),
        ("2001:db8::5", "2001:db8::5"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_an_address_is_the_same_in_any_spelling(address: str, source: str) -> None:
    assert source_of(address) == source


def test_a_websocket_has_a_place_too(patient: Served) -> None:
    from websockets.sync.client import connect

    headers = {"Authorization": f"Bearer {TOKEN}"}
    with ExitStack() as stack:
        for _ in range(20):
            with connect(f"ws://127.0.0.1:{patient.port}/v1/echo", additional_headers=headers) as gone:
                gone.send("x")
                assert gone.recv() == "x"
        for _ in range(8):
            kept = stack.enter_context(connect(f"ws://127.0.0.1:{patient.port}/v1/echo", additional_headers=headers))
            kept.send("x")
            assert kept.recv() == "x"
        with patient.connect() as connection:
            assert is_ended(connection), "all places are taken"


def test_a_websocket_may_be_silent(quick: Served) -> None:
    from websockets.sync.client import connect

    with connect(f"ws://127.0.0.1:{quick.port}/v1/echo", additional_headers={"Authorization": f"Bearer {TOKEN}"}) as socket:
        time.sleep(3 * SHORT.head)
        socket.send("x")
        assert socket.recv() == "x"


def test_a_handshake_of_tls_is_bounded_as_everything_else(tmp_path: Path) -> None:
    tls = make_tls(tmp_path)
    context = ssl.create_default_context(cafile=tls.certificate)
    with served(ROUTES, limits=SHORT, tls=tls) as daemon, ExitStack() as stack:
        silent = [stack.enter_context(daemon.connect()) for _ in range(20)]
        with context.wrap_socket(daemon.connect(), server_hostname="127.0.0.1") as connection:
            connection.sendall(f"GET /v1/short HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
            assert connection.recv(12).endswith(b" 200"), "among those that say nothing"
        with daemon.connect() as plain:
            plain.sendall(b"GET /v1/short HTTP/1.1\r\n\r\n")
            assert is_ended(plain)
        assert all(is_ended(one) for one in silent)


def test_more_connections_than_files_are_said_once_and_end(capfd: pytest.CaptureFixture[str]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limits = Limits(connections=4096, head=1.0)
    with served(ROUTES, limits=limits) as daemon, ExitStack() as stack:
        silent = [stack.enter_context(daemon.connect()) for _ in range(60)]
        assert daemon.status("GET /v1/short") == 200
        with open("/dev/null") as last:  # noqa: PTH123  # its number is what counts
            resource.setrlimit(resource.RLIMIT_NOFILE, (last.fileno() + 1, hard))
        try:
            for _ in range(20):  # the kernel takes them for the listener, which has no file for them
                connection = stack.enter_context(_connected_beyond(daemon))
                silent.append(connection)
            time.sleep(0.5)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert daemon.status("GET /v1/short") == 200, "it serves again"
        assert all(is_ended(connection) for connection in silent)
    said = capfd.readouterr()
    assert (said.out + said.err).count("a connection cannot be taken") <= 1
    assert "Traceback" not in said.err


def _connected_beyond(daemon: Served) -> socket.socket:
    """Return a connection made while this process may open no further file: it waits in the listener's own backlog."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        return daemon.connect()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_half_of_the_files_are_for_work() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        limits = limits_of_process()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(16384, hard)
        assert limits.connections == min(4096, min(16384, hard) // 2)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_nobody_says_of_a_request_that_it_comes_from_elsewhere() -> None:
    with served([told]) as daemon:
        more = "X-Forwarded-For: 192.0.2.9\r\nX-Forwarded-Proto: https\r\nForwarded: for=192.0.2.9\r\nConnection: close\r\n\r\n"
        with daemon.asked("GET /v1/from", more.encode()) as connection, connection.makefile("rb") as answer:
            assert answer.read().endswith(b'{"address":"127.0.0.1","scheme":"http"}')
