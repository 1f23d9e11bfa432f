"""A daemon that serves on loopback, in a thread of the test."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from litestar import Litestar
from litestar.types import ControllerRouterHandler
from prometheus_client import CollectorRegistry

from terra_core.config.controller import Tls
from terra_core.service.access import OneToken
from terra_core.service.application import make_application
from terra_core.service.connections import Limits
from terra_core.service.serving import bind, server

TOKEN = "a-token-of-the-tests"
PATIENCE = 30.0


@frozen
class Served:
    """A daemon that serves.

    :param port: where.
    """

    port: int

    def connect(self) -> socket.socket:
        """Return a connection that has sent nothing yet."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def asked(self, head: str, body: bytes = b"", token: str = TOKEN) -> socket.socket:
        """Return a connection that has sent a request, such as ``GET /``."""
        connection = self.connect()
        connection.sendall(f"{head} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n".encode() + (body or b"\r\n"))
        return connection

    def status(self, head: str) -> int:
        """Return the status of the answer to a request."""
        with self.asked(head) as connection:
            return int(connection.recv(12).split()[1])


@contextmanager
def served(
    routes: Sequence[ControllerRouterHandler] = (),
    *,
    limits: Limits | None = None,
    tls: Tls | None = None,
    websockets: bool = False,
    dependencies: dict[str, Any] | None = None,
) -> Iterator[Served]:
    """Serve these routes for as long as the block lasts."""
    application = make_application(
        title="Test", routes=routes, gate=OneToken(TOKEN), metrics=CollectorRegistry(), dependencies=dependencies or {}
    )
    with serving(application, limits=limits, tls=tls, websockets=websockets) as daemon:
        yield daemon


@contextmanager
def serving(
    application: Litestar, *, limits: Limits | None = None, tls: Tls | None = None, websockets: bool = False
) -> Iterator[Served]:
    """Serve an application for as long as the block lasts."""
    ready = threading.Event()
    listener = bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    running = server(application, tls=tls, ready=ready.set, websockets=websockets, limits=limits)
    thread = threading.Thread(target=running.run, args=([listener],))
    thread.start()
    try:
        assert ready.wait(PATIENCE)
        yield Served(port)
    finally:
        running.should_exit = True
        thread.join(PATIENCE)
        listener.close()
        assert not thread.is_alive()


def is_ended(connection: socket.socket) -> bool:
    """Wait until the other end has closed a connection; what came before is passed over."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def make_tls(directory: Path) -> Tls:
    """Make a self-signed certificate for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    tls = Tls(certificate=str(directory / "certificate.pem"), key=str(directory / "key.pem"))
    Path(tls.certificate).write_bytes(certificate.public_bytes(Encoding.PEM))
    Path(tls.key).write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return tls
