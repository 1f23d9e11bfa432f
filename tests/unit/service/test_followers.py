"""Hundreds of clients that follow an operation, over HTTP: whoever else asks notices nothing of them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import pytest
from litestar import get
from litestar.di import Provide

from terra_core.service import operation_routes
from terra_core.service.connections import Limits
from terra_core.service.operation_routes import OPERATION_ROUTES
from terra_core.service.operations import Operations
from terra_core.system.progress import Event, Report
from tests.unit.service.serving_lab import PATIENCE, served

FOLLOWERS = 300


@get("/v1/things", sync_to_thread=True)
def list_things() -> list[str]:
    """Answer from a thread, as what asks a database has to."""
    return []


def test_hundreds_of_followers_hold_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation_routes, "_PATIENCE_SECONDS", 10 * PATIENCE)  # a thread that waits is not free before that
    operations, opened = Operations(1), threading.Event()

    def work(report: Report) -> Mapping[str, Any]:
        report(Event("gate", "reached"))
        assert opened.wait(PATIENCE)
        return {"through": True}

    provide = {"operations": Provide(lambda: operations, sync_to_thread=False)}
    limits = Limits(connections=2 * FOLLOWERS)
    with served([list_things, *OPERATION_ROUTES], limits=limits, dependencies=provide) as daemon, ExitStack() as stack:
        operation = operations.start("provision", "cm-01", work)
        path = f"GET /v1/operations/{operation.id}/events"
        followers = [stack.enter_context(daemon.asked(path)) for _ in range(FOLLOWERS)]
        for follower in followers:
            read_until(follower, b"reached")
        assert [daemon.status("GET /v1/things") for _ in range(50)] == [200] * 50
        for gone in followers[: FOLLOWERS // 2]:
            gone.close()
        assert daemon.status("GET /v1/things") == 200
        opened.set()
        for follower in followers[FOLLOWERS // 2 :]:
            read_until(follower, b'{"through": true}')
    operations.stop()


def test_a_follower_hears_that_there_is_nothing_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operation_routes, "_PATIENCE_SECONDS", 0.05)
    operations, opened = Operations(1), threading.Event()

    def work(report: Report) -> Mapping[str, Any]:
        assert opened.wait(PATIENCE)
        return {}

    provide = {"operations": Provide(lambda: operations, sync_to_thread=False)}
    with served(OPERATION_ROUTES, dependencies=provide) as daemon:
        operation = operations.start("provision", "cm-01", work)
        with daemon.asked(f"GET /v1/operations/{operation.id}/events") as follower:
            assert b"data" not in read_until(follower, b": still at it\r\n\r\n", times=2)
            opened.set()
            read_until(follower, b"event: result\r\ndata: {}\r\n\r\n")
    operations.stop()


def read_until(connection: socket.socket, wanted: bytes, times: int = 1) -> bytes:
    """Return what is received, up to some words."""
    read = b""
    while read.count(wanted) < times:
        piece = connection.recv(65536)
        assert piece, read
        read += piece
    return read
