"""Serving an application on an address."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog
import uvicorn
from anyio import to_thread
from litestar import Litestar

from terra_core.config.controller import Tls
from terra_core.errors import TerraError, words_of
from terra_core.service.connections import Door, Limits, Peer, Place, limits_of_process
from terra_core.system.reading import open_regular

_log = structlog.get_logger(__name__)
LOOK_SECONDS = 60.0
"""How often it is seen whether the certificate was renewed."""
_BACKLOG = 1024
_MESSAGE_LIMIT = 1024 * 1024
_THREADS = 32
"""What synchronous routes share; each of them ends within the limits of the database and the engine."""


def bind(address: str, port: int, *, key: str = "port") -> socket.socket:
    """Return a listening socket.

    :param key: the key of the daemon's file that the port is from.
    :raises TerraError: when the address is not this machine's or the port is taken.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
        listener.listen(_BACKLOG)  # at once: another process can still bind an address that nobody listens on
    except OSError as error:
        listener.close()
        raise TerraError(
            f"cannot listen on {address} port {port}: {error.strerror}",
            hint=f"choose another address or {key}, or stop what holds it (ss -ltnp shows it)",
        ) from error
    return listener


def check_tls(tls: Tls | None) -> None:
    """Try certificate and key before anything is begun.

    :raises TerraError: when they are not usable.
    """
    if tls is None:
        return
    try:
        for file in (tls.certificate, tls.key):
            open_regular(Path(file)).close()  # OpenSSL waits for the writer of a FIFO
        # The password keeps OpenSSL from asking the terminal for one.
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(tls.certificate, tls.key, password="")
    except OSError as error:  # ssl.SSLError is one
        raise TerraError(
            f"the API cannot use the certificate {tls.certificate} with the key {tls.key}: {error.strerror or error}",
            hint="both are PEM files that belong together, and the key has no password",
        ) from error


def serve(
    application: Litestar,
    listener: socket.socket,
    *,
    tls: Tls | None,
    ready: Callable[[], None],
    websockets: bool = False,
    ending: Callable[[], None] = lambda: None,
    beat: tuple[float, Callable[[], None]] | None = None,
) -> None:
    """Serve until SIGINT or SIGTERM; the signal is raised again at the end.

    :param listener: from :func:`bind`; closed at the end.
    :param tls: certificate and key that :func:`check_tls` found right; plain HTTP when left out.
    :param websockets: take WebSockets, too, which needs the library of that name.
    :param ready: called once requests are served.
    :param ending: called when no more requests are taken, and those that are being answered get some seconds more.
    :param beat: seconds, and what is called again and again after so many, by what answers requests: a server that hangs
        does not call it.
    """
    with listener:
        server(application, tls=tls, ready=ready, websockets=websockets, ending=ending, beat=beat).run(sockets=[listener])


def server(
    application: Litestar,
    *,
    tls: Tls | None = None,
    ready: Callable[[], None] = lambda: None,
    websockets: bool = False,
    ending: Callable[[], None] = lambda: None,
    limits: Limits | None = None,
    beat: tuple[float, Callable[[], None]] | None = None,
) -> uvicorn.Server:
    """Return the server that :func:`serve` runs.

    :param limits: the limits for peers; derived from those of the process when left out.
    """
    config = uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        proxy_headers=False,  # uvicorn would let whoever is on this machine say where a request comes from
        lifespan="on",
        http=Peer,
        ws=_socket_peer() if websockets else "none",
        ws_per_message_deflate=False,
        ws_max_size=_MESSAGE_LIMIT,
        timeout_graceful_shutdown=10,
        ssl_certfile=tls.certificate if tls else None,
        ssl_keyfile=tls.key if tls else None,
    )
    return _Server(config, tls, ready, ending, limits or limits_of_process(), beat)


def _socket_peer() -> type[asyncio.Protocol]:
    from terra_core.service.websockets import SocketPeer  # here: it needs the library

    return SocketPeer


class _Server(uvicorn.Server):
    def __init__(
        self,
        config: uvicorn.Config,
        tls: Tls | None,
        ready: Callable[[], None],
        ending: Callable[[], None],
        limits: Limits,
        beat: tuple[float, Callable[[], None]] | None,
    ) -> None:
        super().__init__(config)
        self._tls = tls
        self._ready = ready
        self._ending = ending
        self._limits = limits
        self._beat = beat
        self._tasks: list[asyncio.Task[None]] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="request"))
        await super().startup([])  # uvicorn would take any number of connections, and wait for each without end
        if self.started:
            for listener in sockets or []:
                door = Door(listener, self._limits, self.config.ssl, self._peer)
                self._tasks.append(asyncio.create_task(door.stay_open()))
                self._tasks[-1].add_done_callback(self._see_why)
            if self._tls is not None and self.config.ssl is not None:
                self._tasks.append(asyncio.create_task(_keep_fresh(self._tls, self.config.ssl)))
            self._ready()
            if self._beat is not None:
                self._tasks.append(asyncio.create_task(self._go_on(*self._beat)))
                self._tasks[-1].add_done_callback(self._see_why)

    @staticmethod
    async def _go_on(seconds: float, beat: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await loop.run_in_executor(None, beat)  # by a thread of those that answer: they may all be stuck
            await asyncio.sleep(seconds)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._ending()
        for task in self._tasks:
            task.cancel()
        await super().shutdown(sockets)

    def _peer(self, place: Place) -> asyncio.Protocol:
        return Peer(self.config, self.server_state, self.lifespan.state, place)

    def _see_why(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            _log.error("defect", exc_info=task.exception())
            self.should_exit = True


async def _keep_fresh(tls: Tls, context: ssl.SSLContext) -> None:
    """Take a certificate that was renewed in its files for the connections that come after, without an end."""
    known, said = await to_thread.run_sync(_stamp, tls), ""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        now = await to_thread.run_sync(_stamp, tls)
        if now == known:
            continue
        try:
            await to_thread.run_sync(check_tls, tls)  # a context that fails half-way would serve nobody
            context.load_cert_chain(tls.certificate, tls.key, password="")
        except (TerraError, OSError) as error:  # its files are written one after the other, maybe
            if words_of(error) != said:
                said = words_of(error)
                _log.warning("a renewed certificate cannot be used, the former one still is", reason=said)
        else:
            known, said = now, ""
            _log.info("serves with the renewed certificate", certificate=tls.certificate)


def _stamp(tls: Tls) -> Sequence[tuple[int, int, int] | None]:
    """Return what is different once a file was replaced or written."""
    found: list[tuple[int, int, int] | None] = []
    for file in (tls.certificate, tls.key):
        try:
            status = Path(file).stat()
        except OSError:
            found.append(None)
        else:
            found.append((status.st_ino, status.st_mtime_ns, status.st_size))
    return found
