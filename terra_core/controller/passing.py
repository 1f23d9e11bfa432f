"""Any host answers any request: who waits passes on what the leader alone can answer, and gives its answer back (0099)."""

from __future__ import annotations

import http.client
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Self, cast

import anyio
import structlog
from anyio import CapacityLimiter, to_thread
from anyio.abc import TaskGroup
from attrs import define, frozen
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.types import Receive, Scope, Send

from terra_core.client.connection import Answer, Client
from terra_core.controller.hosts import HostRows, Own
from terra_core.controller.keeping import Keeper
from terra_core.controller.peers import Mark, Passes, Peers, parse_mark
from terra_core.controller.tokens import Tokens
from terra_core.errors import TerraError, UnavailableError
from terra_core.service.access import LOCAL, Caller, Role, address_of, bearer_of, digest_of, is_same
from terra_core.service.operations import Operations
from terra_core.service.passing import MARK, VIA
from terra_core.system.reasons import reason_of
from terra_core.system.undo import Undo, undoing

_log = structlog.get_logger(__name__)
_MOST = 256
"""So many requests are passed on to a host at once. Each that waits for an answer, or for more of a stream, takes a thread."""
_MOST_ASKING = 64
"""So many of them wait for an answer at once; the others wait for their turn."""
_MOST_ADMITTED = 4
"""So many threads look at once who has passed a request on: whoever reaches the port can have that looked for."""
_ANSWER_SECONDS = 60.0
_ANSWER_LIMIT = 16 * 1024 * 1024
_STREAM_SECONDS = 12 * 3600.0
_STREAM_LIMIT = 256 * 1024 * 1024
"""Limits of one that follows an operation; one that says nothing for a minute ends before, as for every client."""
_CHUNK = 65536
_GIVEN_BACK = ("Content-Type", "Cache-Control", "X-Accel-Buffering", "Retry-After", "Allow", "WWW-Authenticate")
_STATUSES = (2, 4, 5)
"""How the statuses begin that a controller answers with; further ones are of an answer that goes on, or is elsewhere."""
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""What ends a header, or is in none (RFC 9110, section 5.5)."""
_EVENTS = "text/event-stream"
_HINT = "try again in some seconds; terra hosts shows who leads"


@frozen(kw_only=True)
class Membership:
    """This controller as one of those of its database.

    :param own: what it says of itself.
    :param passes: what it shows to the others.
    """

    own: Own
    passes: Passes


@frozen(kw_only=True)
class Outgoing:
    """A request to another host.

    :param host: that one.
    :param url: where it is asked.
    :param method: the method.
    :param target: path and query.
    :param token: the token of who asks.
    :param headers: further headers.
    :param body: the body; ``None`` for none.
    :param why: why that one is asked, after its name.
    """

    host: str
    url: str
    method: str
    target: str
    token: str
    headers: Mapping[str, str]
    body: bytes | None
    why: str = "has the lead"


class Exchanging:
    """Takes requests that other hosts have passed on, and passes requests on to them.

    :param membership: this controller among the others.
    :param rows: the hosts of the database.
    :param gate: recognises tokens.
    :param body_limit: the largest body of a request, in bytes.
    :param authority: the file of the authority that the hosts have in common, which need not be there.
    """

    def __init__(
        self, membership: Membership, rows: HostRows, gate: Tokens, *, body_limit: int, authority: Path
    ) -> None:  # fmt: skip
        self._own, self._passes = membership.own, membership.passes
        self._rows, self._peers, self._gate = rows, Peers(rows), gate
        self._body_limit = body_limit
        self._admitting: CapacityLimiter | None = None
        self._exchanges = Exchanges(authority, _MOST)

    async def admit(self, scope: Scope, token: bytes) -> Caller | None:
        """Return who sent a request that a host has passed on; see :class:`terra_core.service.passing.Passing`."""
        mark = parse_mark(dict(scope["headers"])[MARK])
        if self._admitting is None:  # it belongs to the event loop
            self._admitting = CapacityLimiter(_MOST_ADMITTED)
        host = None if mark is None else await to_thread.run_sync(self._peers.find, mark, limiter=self._admitting)
        if mark is None or host is None:
            raise UnavailableError("the request was passed on by no host that is known here", hint=_HINT)
        if host.identity == self._own.identity:
            raise UnavailableError(
                f"{host.name} has passed the request on to itself: the host that leads says that it answers at {self._own.url}",
                hint="give each host an address of its own in controller.toml (address)",
            )
        scope["client"] = (mark.address, 0)
        cast("dict[str, Any]", scope)[VIA] = host.name
        if is_same(digest_of(token), host.local_digest):
            return Caller(name=f"{LOCAL}/{host.name}", role=Role.ADMIN)  # the name of no token, as it has a "/"
        if (found := self._gate.recognise(token)) is None:
            await to_thread.run_sync(self._gate.look)  # it may have been made a moment ago, at that host
            found = self._gate.recognise(token)
        return found

    def _outgoing(self, scope: Scope, host: Own, body: bytes) -> Outgoing:
        headers = dict(scope["headers"])
        caller = cast("Caller", scope["user"])
        token = self._passes.local if caller.name == LOCAL else bearer_of(scope)[0].decode("latin-1")
        mark = Mark(name=self._own.name, secret=self._passes.mark, address=address_of(scope))
        kind = headers.get(b"content-type", b"")
        return Outgoing(
            host=host.name,
            url=host.url,
            method=str(scope.get("method", "GET")),
            target=target_of(scope),
            token=token,
            headers={MARK.decode(): str(mark), **({"Content-Type": kind.decode("latin-1")} if kind else {})},
            body=body if body or kind else None,
        )


class PassingOn(Exchanging):
    """Passes requests on to the host that leads.

    :param keeper: knows whether this controller works.
    :param operations: those of this controller, which it answers for itself.
    """

    def __init__(
        self,
        membership: Membership,
        rows: HostRows,
        gate: Tokens,
        keeper: Keeper,
        operations: Operations,
        *,
        body_limit: int,
        authority: Path,
    ) -> None:
        super().__init__(membership, rows, gate, body_limit=body_limit, authority=authority)
        self._keeper, self._operations = keeper, operations

    async def pass_on(self, scope: Scope, receive: Receive, send: Send, *, needed: bool) -> Receive | None:
        """Let the host that leads answer; see :class:`terra_core.service.passing.Passing`."""
        if self._keeper.works or self._operations.knows(str(scope["path_params"].get("identity", ""))):
            return receive
        try:
            leader = await to_thread.run_sync(leader_beside, self._rows, self._own)
        except TerraError:
            if needed:
                raise
            return receive
        if leader is None:
            if needed:
                await to_thread.run_sync(self._keeper.require_work)
            return receive
        body = await body_of(scope, receive, self._body_limit)
        if body is None:
            return None
        return await self._exchanges.carry_out(self._outgoing(scope, leader, body), receive, send, needed=needed)


def replayed(body: bytes, receive: Receive) -> Receive:
    """Return what gives the body of a request again that was read already, and goes on after it."""
    given = False

    async def again() -> Any:  # a message of ASGI
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def leader_beside(rows: HostRows, own: Own) -> Own | None:
    """Return the host that leads, as far as it is known; ``None`` where none does, or it is this one."""
    found = next((host.own for host in rows.every() if host.leads and host.runs), None)
    return None if found is None or found.identity == own.identity else found


def target_of(scope: Scope) -> str:
    """Return path and query of a request as they came."""
    path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
    return f"{path}?{query}" if query else path


async def body_of(scope: Scope, receive: Receive, limit: int) -> bytes | None:
    """Return the body of a request; ``None`` where its sender is gone.

    :param limit: in bytes.
    :raises RequestEntityTooLarge: when it has more.
    """
    if scope.get("method") == "GET":
        return b""
    found = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        found += message["body"]
        if len(found) > limit:
            raise RequestEntityTooLarge
        if not message["more_body"]:
            return bytes(found)


@define
class _Lane:
    """The requests that are under way to one host: one that hangs holds up nobody who asks another one.

    :param asking: for the threads that wait for an answer.
    :param following: for the threads that wait for more of a stream.
    :param under_way: how many requests.
    """

    asking: CapacityLimiter
    following: CapacityLimiter
    under_way: int = 0


class Exchanges:
    """Asks other hosts, and gives back what they answer; all of it in one event loop.

    :param authority: the file of the authority that the hosts have in common.
    :param most: how many at once, for each host.
    """

    def __init__(self, authority: Path, most: int) -> None:
        self._authority, self._most = authority, most
        self._lanes: dict[str, _Lane] = {}
        self._warned = ""

    async def carry_out(self, asked: Outgoing, receive: Receive, send: Send, *, needed: bool) -> Receive | None:
        """Ask, and give back the answer.

        :param needed: whether no answer is an error.
        :returns: by what the request, whose body was read, is received where there was no answer; ``None`` where there was one.
        :raises UnavailableError: when there was none, and that is an error.
        """
        with self._lane_to(asked.host) as lane:
            if lane.under_way > self._most:
                if needed:
                    raise UnavailableError(f"{self._most} requests are being passed on to {asked.host} already", hint=_HINT)
                return replayed(asked.body or b"", receive)
            exchange = _Exchange(asked, self._authority, self._warn)
            async with exchange:
                try:
                    await to_thread.run_sync(exchange.begin, limiter=lane.asking)
                except TerraError as error:
                    if not needed:
                        return replayed(asked.body or b"", receive)
                    said = f"{asked.host} {asked.why}, and does not answer: {error.message}"
                    raise UnavailableError(said, hint=_HINT) from error
                await send({"type": "http.response.start", "status": exchange.status, "headers": exchange.headers})
                if exchange.content is None:
                    await self._follow(exchange, lane.following, receive, send)
                await send({"type": "http.response.body", "body": exchange.content or b"", "more_body": False})
        return None

    @contextmanager
    def _lane_to(self, host: str) -> Iterator[_Lane]:
        """Offer the lane to a host, with one more request in it."""
        lane = self._lanes.get(host)
        if lane is None:
            lane = _Lane(CapacityLimiter(min(self._most, _MOST_ASKING)), CapacityLimiter(self._most))
            self._lanes[host] = lane
        lane.under_way += 1
        try:
            yield lane
        finally:
            lane.under_way -= 1
            if not lane.under_way:
                del self._lanes[host]

    async def _follow(self, exchange: _Exchange, limiter: CapacityLimiter, receive: Receive, send: Send) -> None:
        """Give back a stream as it comes, until it ends, or nobody listens any more."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_see_out, receive, tasks)
            while chunk := await to_thread.run_sync(exchange.read, limiter=limiter, abandon_on_cancel=True):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            tasks.cancel_scope.cancel()

    def _warn(self, said: str) -> None:
        if said != self._warned:
            self._warned = said
            _log.warning("requests are passed on by plain HTTP", reason=said)


async def _see_out(receive: Receive, tasks: TaskGroup) -> None:
    """Wait until who asked is gone, and end the work for them."""
    while (await receive())["type"] != "http.disconnect":
        pass
    tasks.cancel_scope.cancel()


class _Exchange:
    """One request to another host; its methods wait, and are called in threads.

    :param asked: the request.
    :param authority: the file of the authority that the hosts have in common.
    :param warn: is told when the token can be read on its way.
    """

    def __init__(self, asked: Outgoing, authority: Path, warn: Callable[[str], object]) -> None:
        self._asked, self._authority, self._warn = asked, authority, warn
        self._opened = Undo()
        self._answer: Answer | None = None
        self._left = _STREAM_LIMIT
        self.status, self.headers = 0, list[tuple[bytes, bytes]]()
        self.content: bytes | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.cut()
        with anyio.CancelScope(shield=True), nullcontext() if error is None else undoing(error):
            await to_thread.run_sync(self._opened.close)

    def begin(self) -> None:
        """Ask, and read the head of the answer, with its content unless that is a stream of events.

        :raises TerraError: when there is none, or it is none of a controller's.
        """
        asked = self._asked
        client = Client(asked.url, token=asked.token, warn=self._warn, authority=self._authority)
        asking = client.exchange(asked.method, asked.target, body=asked.body, headers=asked.headers)
        answer = self._answer = self._opened.enter_context(asking)
        self.status = answer.status
        given = [(name, value) for name in _GIVEN_BACK if (value := answer.getheader(name)) is not None]
        if answer.status // 100 not in _STATUSES or any(_CONTROL.search(value) for _, value in given):
            raise TerraError(f"{asked.url}: what answers there is no controller")
        self.headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in given]
        if answer.status == 200 and (answer.getheader("Content-Type") or "").startswith(_EVENTS):
            answer.time.set(_STREAM_SECONDS)
            return
        answer.time.set(_ANSWER_SECONDS)
        try:
            self.content = answer.whole(_ANSWER_LIMIT)
        except (OSError, http.client.HTTPException) as error:
            said = "the connection ended before the answer did, and what was asked for may have been done"
            raise TerraError(f"{said}: {reason_of(error)}") from error
        self.headers.append((b"content-length", str(len(self.content)).encode()))

    def read(self) -> bytes:
        """Return the next part of a stream; nothing at its end, however that came: who follows it knows whether it is whole."""
        if self._answer is None or self._left <= 0:
            return b""
        try:
            found = self._answer.read1(_CHUNK)
        except (OSError, http.client.HTTPException, ValueError):  # the last of one that was closed meanwhile
            return b""
        self._left -= len(found)
        return found

    def cut(self) -> None:
        """End the connection, and with it what a thread waits for."""
        if self._answer is not None:
            self._answer.cut()
