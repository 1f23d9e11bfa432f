"""Where machines report their boots: a listener of its own on the network that they boot from, and nothing else there."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import structlog
from anyio import to_thread
from attrs import frozen
from litestar import Litestar, Request, post
from litestar.di import NamedDependency, Provide
from litestar.exceptions import TooManyRequestsException
from litestar.types import Receive, Scope, Send
from prometheus_client import CollectorRegistry

from terra_core.config.controller import Tls
from terra_core.controller.boot_report import BootReport
from terra_core.controller.hosts import HostRows, Own
from terra_core.controller.passing import Exchanges, Outgoing, body_of, leader_beside
from terra_core.controller.report_tokens import Token
from terra_core.controller.reports import REPORTS, Reports
from terra_core.errors import TerraError, UnavailableError
from terra_core.service.access import Caller, Role, bearer_of
from terra_core.service.application import make_application
from terra_core.service.connections import Limits
from terra_core.service.description import described
from terra_core.service.operation_routes import table_of
from terra_core.service.passing import MARK, VIA, Leader
from terra_core.service.serving import server

_log = structlog.get_logger(__name__)
_BODY_LIMIT = 32 * 1024
_LIMITS = Limits(connections=512, each=16, head=10.0, body=20.0, reading=20.0)
"""A machine needs one connection, and those behind a router that hides them may need some at once."""
_START_SECONDS = 30.0
_MOST_PASSED_ON = 16
"""So many reports are passed on at once: another host gives no more connections to one address."""
_NOBODY, _LATER = "no host takes reports now", "try again in some seconds"
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


@frozen(kw_only=True)
class Beside:
    """What reports are passed on by, where other hosts have the same database.

    :param own: this controller.
    :param rows: the hosts.
    :param works: whether this controller leads and works.
    :param authority: the file of the authority that the hosts have in common, which need not be there.
    """

    own: Own
    rows: HostRows
    works: Callable[[], bool]
    authority: Path


class _Gate:
    """Recognises the tokens of machines, and no others.

    :param reports: knows them.
    :param works: whether this controller leads and works: no other one knows the tokens that count now.
    """

    def __init__(self, reports: Reports, works: Callable[[], bool]) -> None:
        self._reports, self._works = reports, works

    def recognise(self, token: bytes) -> Caller | None:
        """Return the machine that has a token; nobody in particular where this is for another host to say."""
        if not self._works():
            return Caller(name="", role=Role.READ) if token else None
        found = self._reports.recognise(token)
        return None if found is None else Machine(name=found.hostname, role=Role.READ, token=found)


class _PassingOn:
    """Passes reports on to the host that leads, which alone knows the tokens of machines.

    :param beside: the hosts.
    :param gate: recognises tokens.
    """

    def __init__(self, beside: Beside, gate: _Gate) -> None:
        self._beside, self._gate = beside, gate
        self._exchanges = Exchanges(beside.authority, _MOST_PASSED_ON)

    async def admit(self, scope: Scope, token: bytes) -> Caller | None:
        """Return the machine whose report a host has passed on: its token is all that counts, whoever sends it."""
        cast("dict[str, Any]", scope)[VIA] = "another host"
        return self._gate.recognise(token)

    async def pass_on(self, scope: Scope, receive: Receive, send: Send, *, needed: bool) -> Receive | None:
        """Let the host that leads take a report; see :class:`terra_core.service.passing.Passing`."""
        beside = self._beside
        if beside.works():
            return receive
        leader = await to_thread.run_sync(leader_beside, beside.rows, beside.own)
        if leader is None or not leader.reports:
            raise UnavailableError(_NOBODY, hint=_LATER)
        body = await body_of(scope, receive, _BODY_LIMIT)
        if body is None:
            return None
        asked = Outgoing(
            host=leader.name,
            url=leader.reports,
            method="POST",
            target=REPORTS,
            token=bearer_of(scope)[0].decode("latin-1"),
            headers={MARK.decode(): beside.own.name, "Content-Type": "application/json"},
            body=body,
        )
        return await self._exchanges.carry_out(asked, receive, send, needed=needed)


@post(REPORTS, status_code=204, opt=described(body=BootReport, example=_EXAMPLE, leader=Leader.NEEDED))
async def take_report(reports: NamedDependency[Reports], request: Request[Any, Any, Any]) -> None:
    """Take what a machine says of its boot; the token says which machine it is, and is for one boot."""
    machine = request.scope["user"]
    if not isinstance(machine, Machine):  # the lead has moved since it was recognised
        raise UnavailableError(_NOBODY, hint=_LATER)
    if not reports.has_room(machine.name):
        raise TooManyRequestsException("this machine reports too often")
    raw = await table_of(request)
    await to_thread.run_sync(reports.take, machine.token, raw)  # the database may let it wait


def make_report_api(reports: Reports, beside: Beside | None = None) -> Litestar:
    """Return the application that machines report to.

    :param beside: the hosts that have the same database; the only one when left out.
    """
    gate = _Gate(reports, beside.works if beside else lambda: True)
    return make_application(
        title="Terra: reports of machines",
        routes=[take_report],
        gate=gate,
        passing=_PassingOn(beside, gate) if beside else None,
        metrics=CollectorRegistry(),
        dependencies={"reports": Provide(lambda: reports, sync_to_thread=False)},
        roles={f"POST {REPORTS}": Role.READ},
        body_limit=_BODY_LIMIT,
    )


@contextmanager
def receiving(reports: Reports, listener: socket.socket, tls: Tls | None, beside: Beside | None = None) -> Iterator[None]:
    """Take reports for as long as the block lasts, in a thread and an event loop of their own.

    :param listener: from :func:`terra_core.service.serving.bind`; whoever made it closes it.
    :param beside: the hosts that have the same database; the only one when left out.
    :raises TerraError: when it does not start.
    """
    ready, ending = threading.Event(), threading.Event()
    running = server(make_report_api(reports, beside), tls=tls, ready=ready.set, limits=_LIMITS)

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
