"""Where machines report their boots: a listener of its own on the network that they boot from, and nothing else there."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from anyio import to_thread
from attrs import frozen
from litestar import Litestar, Request, post
from litestar.di import NamedDependency, Provide
from litestar.exceptions import TooManyRequestsException
from prometheus_client import CollectorRegistry

from terra_core.config.controller import Tls
from terra_core.controller.boot_report import BootReport
from terra_core.controller.report_tokens import Token
from terra_core.controller.reports import REPORTS, Reports
from terra_core.errors import TerraError
from terra_core.service.access import Caller, Role
from terra_core.service.application import make_application
from terra_core.service.connections import Limits
from terra_core.service.description import described
from terra_core.service.operation_routes import table_of
from terra_core.service.serving import server

_log = structlog.get_logger(__name__)
_BODY_LIMIT = 32 * 1024
_LIMITS = Limits(connections=512, each=16, head=10.0, body=20.0, reading=20.0)
"""A machine needs one connection, and those behind a router that hides them may need some at once."""
_START_SECONDS = 30.0
_EXAMPLE = {
    "boot_id": "0b0e7c4e-9d3c-4b5e-8f3e-1c1f9a0d2b6a",
    "image": f"sha256:{64 * '0'}",
    "state": "running",
    "kernel": "6.12.57+deb13-amd64",
    "uptime": 41.5,
    "addresses": ["10.0.10.50"],
}


@frozen(kw_only=True)
class Machine(Caller):
    """A machine that reports.

    :param token: the token that it came with.
    """

    token: Token


class _Gate:
    """Recognises the tokens of machines, and no others.

    :param reports: knows them.
    """

    def __init__(self, reports: Reports) -> None:
        self._reports = reports

    def recognise(self, token: bytes) -> Caller | None:
        """Return the machine that has a token."""
        found = self._reports.recognise(token)
        return None if found is None else Machine(name=found.hostname, role=Role.READ, token=found)


@post(REPORTS, status_code=204, opt=described(body=BootReport, example=_EXAMPLE))
async def take_report(reports: NamedDependency[Reports], request: Request[Any, Any, Any]) -> None:
    """Take what a machine says of its boot; the token says which machine it is, and is for one boot."""
    machine: Machine = request.scope["user"]
    if not reports.has_room(machine.name):
        raise TooManyRequestsException("this machine reports too often")
    raw = await table_of(request)
    await to_thread.run_sync(reports.take, machine.token, raw)  # the database may let it wait


def make_report_api(reports: Reports) -> Litestar:
    """Return the application that machines report to."""
    return make_application(
        title="Terra: reports of machines",
        routes=[take_report],
        gate=_Gate(reports),
        metrics=CollectorRegistry(),
        dependencies={"reports": Provide(lambda: reports, sync_to_thread=False)},
        roles={f"POST {REPORTS}": Role.READ},
        body_limit=_BODY_LIMIT,
    )


@contextmanager
def receiving(reports: Reports, listener: socket.socket, tls: Tls | None) -> Iterator[None]:
    """Take reports for as long as the block lasts, in a thread and an event loop of their own.

    :param listener: from :func:`terra_core.service.serving.bind`; whoever made it closes it.
    :raises TerraError: when it does not start.
    """
    ready, ending = threading.Event(), threading.Event()
    running = server(make_report_api(reports), tls=tls, ready=ready.set, limits=_LIMITS)

    def run() -> None:
        running.run(sockets=[listener])
        if not ending.is_set():
            _log.error("no reports of machines are taken any more: restart the controller")

    thread = threading.Thread(target=run, name="reports", daemon=True)
    thread.start()
    try:
        if not ready.wait(_START_SECONDS):
            raise TerraError("the listener for reports of machines did not start")
        yield
    finally:
        ending.set()
        running.should_exit = True
        thread.join()
