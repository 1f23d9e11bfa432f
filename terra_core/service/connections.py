"""The connections of a daemon: how many there are at once, and how long a peer may take to send, and to read.

None of this needs a token: whoever reaches the port may connect, and then say nothing, or one byte a second. Where there is no
room for a further connection, the one that has waited longest without a whole request makes room; where an address may have
so many only, it is one of the address that has the most.
"""

from __future__ import annotations

import asyncio
import resource
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address, ip_address
from typing import Any

import h11
import structlog
from attrs import frozen
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from terra_core.errors import words_of

_log = structlog.get_logger(__name__)
_FILES = 16384
_MOST_CONNECTIONS = 4096
_PAUSE_SECONDS = 0.1
_QUIET_SECONDS = 60.0


@frozen(kw_only=True)
class Limits:
    """The limits for peers.

    :param connections: how many there are at once.
    :param each: how many of them may come from one address; any number when left out.
    :param head: seconds for the handshake of TLS, and again for the head of each request, the wait for it included.
    :param body: seconds for the body of a request.
    :param reading: seconds for which an answer may not get on because its peer does not read.
    """

    connections: int
    each: int | None = None
    head: float = 10.0
    body: float = 60.0
    reading: float = 60.0


def limits_of_process() -> Limits:
    """Raise the number of files that this process may open, and return limits that leave half of them to its work."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return Limits(connections=_MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else min(_MOST_CONNECTIONS, soft // 2))


def source_of(address: str) -> str:
    """Return the address of a peer in one spelling: without a scope, and an IPv4 address that IPv6 wraps as itself.

    :param address: as the socket has it.
    """
    found = ip_address(address.partition("%")[0])
    return str(found if isinstance(found, IPv4Address) else found.ipv4_mapped or found)


class Door:
    """Accepts the connections of a listener, within limits.

    :param listener: is made non-blocking.
    :param limits: what peers are given.
    :param tls: for connections that are made by TLS.
    :param make: the protocol of a connection, given its place.
    """

    def __init__(
        self, listener: socket.socket, limits: Limits, tls: ssl.SSLContext | None, make: Callable[[Place], asyncio.Protocol]
    ) -> None:
        self.limits = limits
        self.places: set[Place] = set()
        self.waiting: dict[Place, None] = {}  # by how long they have waited, the longest first
        self._sources = Counter[str]()
        self._listener = listener
        self._tls = tls
        self._make = make
        self._said = -_QUIET_SECONDS

    async def stay_open(self) -> None:
        """Take connections until this is cancelled."""
        loop = asyncio.get_running_loop()
        self._listener.setblocking(False)
        try:
            while True:
                try:
                    connection, address = await loop.sock_accept(self._listener)
                except OSError as error:  # no descriptor is left for it, or the peer is gone
                    self._say("a connection cannot be taken", reason=words_of(error))
                    await asyncio.sleep(_PAUSE_SECONDS)
                else:
                    self._admit(connection, source_of(str(address[0])))
                    await asyncio.sleep(0)  # let other tasks run, however many connections there are
        finally:
            for place in tuple(self.waiting):
                place.end()

    def enter(self, place: Place) -> None:
        """Count a place."""
        self.places.add(place)
        self._sources[place.source] += 1

    def leave(self, place: Place) -> None:
        """Free a place; it may be free already."""
        if place in self.places:
            self.places.discard(place)
            self._sources[place.source] -= 1
            if not self._sources[place.source]:
                del self._sources[place.source]

    def _admit(self, connection: socket.socket, source: str) -> None:
        if not self._makes_room(source):
            connection.close()
            return
        place = Place(self, source)
        connection.setblocking(False)
        making = asyncio.create_task(self._receive(connection, place))
        place.end_by(making.cancel)
        making.add_done_callback(partial(self._see_out, connection, place))

    def _makes_room(self, source: str) -> bool:
        """End a connection where there are as many as there may be; return whether there is room for one from an address."""
        each = self.limits.each
        if each is not None and self._sources[source] >= each:
            self._say("an address has as many connections as it may have", address=source, connections=each)
            ended = next((place for place in self.waiting if place.source == source), None)
        elif len(self.places) >= self.limits.connections:
            self._say("there are as many connections as there may be", connections=len(self.places))
            ended = next(iter(self.waiting), None)
            if each is not None:  # of the address that has the most
                ended = max(self.waiting, key=lambda place: self._sources[place.source], default=None)
        else:
            return True
        if ended is not None:
            ended.end()
        return ended is not None

    async def _receive(self, connection: socket.socket, place: Place) -> None:
        handshake = self.limits.head if self._tls else None
        await asyncio.get_running_loop().connect_accepted_socket(
            partial(self._make, place), connection, ssl=self._tls, ssl_handshake_timeout=handshake
        )

    @staticmethod
    def _see_out(connection: socket.socket, place: Place, making: asyncio.Task[None]) -> None:
        """Close a connection that failed before its protocol began, such as in the TLS handshake."""
        error = None if making.cancelled() else making.exception()
        if making.cancelled() or error:
            connection.close()  # a task that was cancelled before it began has not closed it
            place.leave()
        if error and not isinstance(error, OSError):
            _log.error("defect", exc_info=error)

    def _say(self, event: str, **more: object) -> None:
        """Log an event at most once a minute: a thousand connections would write the same line."""
        now = time.monotonic()
        if now - self._said >= _QUIET_SECONDS:
            self._said = now
            _log.warning(event, **more)


class Place:
    """One connection among those that a door admits, with its time limits.

    :param door: the door that it came through.
    :param source: where it came from, from :func:`source_of`.
    """

    def __init__(self, door: Door, source: str = "") -> None:
        self.source = source
        self._door = door
        self._loop = asyncio.get_running_loop()
        self._end: Callable[[], object] = lambda: None
        self._state = ""
        self._deadline: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        door.enter(self)
        self.await_head()

    def end_by(self, end: Callable[[], object]) -> None:
        """Set the function that closes the connection at once."""
        self._end = end

    def end(self) -> None:
        """Close the connection at once."""
        self.leave()
        self._end()

    def leave(self) -> None:
        """Free the place after the connection has ended."""
        self.work()
        self.let_read()
        self._door.leave(self)

    def await_head(self) -> None:
        """Start the time in which the peer has to send the head of a request; what arrives meanwhile does not extend it."""
        if self._enter("head", self._door.limits.head):
            self._door.waiting[self] = None

    def await_body(self) -> None:
        """Start the time in which the peer has to send the rest of a request."""
        self._enter("body", self._door.limits.body)

    def work(self) -> None:
        """Stop the time of the peer while the daemon works on its request."""
        self._enter("work", None)

    def await_reading(self) -> None:
        """Start the time in which the peer has to read."""
        if self._unread is None:
            self._unread = self._loop.call_later(self._door.limits.reading, self.end)

    def let_read(self) -> None:
        """Stop the time in which the peer has to read."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _enter(self, state: str, seconds: float | None) -> bool:
        if state == self._state:
            return False
        self._state = state
        self._door.waiting.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self._loop.call_later(seconds, self.end)
        return True


class Placed(asyncio.Protocol):
    """What all protocols do in their places; a base class to name before the protocol's own."""

    _place: Place

    def connection_lost(self, exc: Exception | None) -> None:
        """Free the place."""
        super().connection_lost(exc)
        self._place.leave()

    def pause_writing(self) -> None:
        """Wait for the peer to read."""
        super().pause_writing()
        self._place.await_reading()

    def resume_writing(self) -> None:
        """Go on."""
        super().resume_writing()
        self._place.let_read()


class Peer(Placed, H11Protocol):
    """HTTP with a peer, in its place.

    :param config: as uvicorn has it.
    :param server_state: likewise.
    :param app_state: likewise.
    :param place: the connection's.
    """

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], place: Place) -> None:
        super().__init__(config, server_state, app_state)
        self._place = place
        if self.ws_protocol_class is not None:
            made: Any = self.ws_protocol_class  # a SocketPeer, which is imported where there are WebSockets only
            self.ws_protocol_class = partial(made, place=place)  # type: ignore[assignment]  # it is called, and nothing else

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Let the place end the connection."""
        self._place.end_by(transport.abort)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Set the time limit for what the peer has to do next."""
        super().data_received(data)
        self._settle()

    def on_response_complete(self) -> None:
        """Set the time limit for what the peer has to do next."""
        super().on_response_complete()
        self._settle()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Leave the limits to the protocol of WebSockets, which has its own."""
        self._place.work()
        super().handle_websocket_upgrade(event)

    def _settle(self) -> None:
        if self.transport.get_protocol() is not self:  # it speaks WebSocket from now on
            return
        if self.cycle is None or self.cycle.response_complete:
            self._place.await_head()
        elif self.cycle.more_body:
            self._place.await_body()
        else:
            self._place.work()
