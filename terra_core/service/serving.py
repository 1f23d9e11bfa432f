"""Serving an application on an address."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable

import uvicorn
from litestar import Litestar

from terra_core.config.controller import Tls
from terra_core.errors import TerraError


def bind(address: str, port: int) -> socket.socket:
    """A listening socket.

    :raises TerraError: when the address is not this machine's or the port is taken.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
        listener.listen()  # at once: an address that is bound only can be bound by another, too
    except OSError as error:
        listener.close()
        raise TerraError(
            f"cannot listen on {address} port {port}: {error.strerror}",
            hint="choose another address or port, or stop what holds it (ss -ltnp shows it)",
        ) from error
    return listener


def check_tls(tls: Tls | None) -> None:
    """Try certificate and key before anything is begun.

    :raises TerraError: when they are not usable.
    """
    if tls is None:
        return
    try:
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
) -> None:
    """Serve until SIGINT or SIGTERM; the signal is raised again at the end.

    :param listener: from :func:`bind`; closed at the end.
    :param tls: certificate and key that :func:`check_tls` found right; plain HTTP when left out.
    :param websockets: take WebSockets, too, which needs the library of that name.
    :param ready: called once requests are served.
    :param ending: called when no more requests are taken, and those that are being answered get some seconds more.
    """
    config = uvicorn.Config(
        application,
        log_config=None,
        access_log=False,
        lifespan="on",
        ws="websockets-sansio" if websockets else "none",
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=10,
        ssl_certfile=tls.certificate if tls else None,
        ssl_keyfile=tls.key if tls else None,
    )
    with listener:
        _Server(config, ready, ending).run(sockets=[listener])


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None], ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready
        self._ending = ending

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._ending()
        await super().shutdown(sockets)
