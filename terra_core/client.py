"""The client of Terra's daemons: requests with the token, errors as they were raised, progress as it happens."""

from __future__ import annotations

import http.client
import io
import json
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen

from terra_core.config.controller import API_PORT, Places
from terra_core.errors import ConfigError, ConflictError, InterruptedWork, NotFoundError, TerraError
from terra_core.service.tokens import read_token
from terra_core.system.progress import Event, Report, silent
from terra_core.system.signals import deferred

_CONNECT_SECONDS = 5
_ANSWER_SECONDS = 60
_CHUNK = 65536
_KINDS: Mapping[str, type[TerraError]] = {kind.__name__: kind for kind in (ConflictError, NotFoundError, InterruptedWork)}


@frozen
class Service:
    """What the daemon at the other end is, for messages.

    :param name: what it is, in a word.
    :param start: the command that starts it.
    :param listing: the command that shows what became of its work.
    """

    name: str
    start: str
    listing: str


CONTROLLER = Service("controller", "terra controller", "terra list")


class Client:
    """A connection to a daemon.

    :param address: an address, ``ADDRESS:PORT``, or an ``http://`` or ``https://`` URL.
    :param token: the API's token; from TERRA_TOKEN, or this machine's own daemon, when left out.
    :param port: the port where ``address`` names none.
    :param service: what the daemon is.
    :raises TerraError: when there is no token.
    """

    def __init__(self, address: str, *, token: str | None = None, port: int = API_PORT, service: Service = CONTROLLER) -> None:
        self.url = _url(address, port)
        self.token = bearer_token(token)
        self._service = service

    def get(self, path: str) -> Any:  # JSON
        """The document at ``path``."""
        return self._request("GET", path)

    def post(self, path: str, body: object) -> Any:  # JSON
        """What the daemon answers to ``body``."""
        return self._request("POST", path, body)

    def delete(self, path: str) -> Any:  # JSON
        """What the daemon answers to the removal of ``path``."""
        return self._request("DELETE", path)

    def stream(self, path: str) -> Iterator[bytes]:
        """What the daemon sends at ``path``, as it comes; it has to send something every minute."""
        with self._asked("GET", path) as answer:
            try:
                while data := answer.read1(_CHUNK):
                    yield data
            except (OSError, http.client.HTTPException) as error:
                raise TerraError(f"{self.url}: the connection ended: {error}") from error

    def follow(self, operation: str, report: Report) -> Any:  # JSON
        """Follow an operation to its end, and give its result.

        When the work here is interrupted, the operation is cancelled and its undoing awaited; if it came to its end before
        that, its result counts.

        :param operation: the operation's id.
        :param report: takes the operation's events.
        :raises TerraError: as the operation did.
        """
        try:
            kind, data = self._outcome(operation, report)
        except (KeyboardInterrupt, InterruptedWork):
            with deferred() as interrupt:
                self.delete(f"/v1/operations/{operation}")
            interrupt()
            kind, data = self._outcome(operation, silent)
            if kind == "problem" and isinstance(error_of(data), InterruptedWork):
                raise
        if kind == "problem":
            raise error_of(data)
        return data

    def _outcome(self, operation: str, report: Report) -> tuple[str, Any]:  # JSON
        with self._asked("GET", f"/v1/operations/{operation}/events") as stream:
            for kind, data in self._messages(stream):
                if kind == "progress":
                    report(Event(**data))
                elif kind in ("result", "problem"):
                    return kind, data
        raise self._cut_off()

    def _messages(self, stream: http.client.HTTPResponse) -> Iterator[tuple[str, Any]]:
        try:
            yield from _events(stream)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._cut_off() from error

    def _cut_off(self) -> TerraError:
        hint = f"see what became of it: {self._service.listing}"
        return TerraError(f"{self.url}: the connection ended before the work did", hint=hint)

    def _request(self, method: str, path: str, body: object = None) -> Any:  # JSON
        try:
            with self._asked(method, path, None if body is None else self._encoded(body)) as answer:
                content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise TerraError(f"{self.url}: the connection ended: {error}") from error
        try:
            return json.loads(content) if content else None
        except ValueError:
            wrong = f"{self.url}: what answers there is no {self._service.name}"
            raise TerraError(wrong, hint="is the address right?") from None

    def _encoded(self, body: object) -> bytes:
        try:
            return json.dumps(body, allow_nan=False).encode()
        except (TypeError, ValueError) as error:  # TOML knows dates, and numbers that are none
            raise TerraError(f"{self.url}: this cannot be sent as JSON: {error}") from None

    @contextmanager
    def _asked(self, method: str, path: str, body: bytes | None = None) -> Iterator[http.client.HTTPResponse]:
        """The answer to a request, before its content is read; a redirect is no answer, and no proxy sees the token."""
        headers = {"Authorization": f"Bearer {self.token}", **({} if body is None else {"Content-Type": "application/json"})}
        with ExitStack() as stack:
            with self._explained():
                connection, prefix = self._connection()
                stack.enter_context(closing(connection))
                connection.connect()
                if connection.sock is not None:
                    connection.sock.settimeout(_ANSWER_SECONDS)
                connection.request(method, f"{prefix}{path}", body=body, headers=headers)
                answer = stack.enter_context(connection.getresponse())
            if answer.status >= 300:
                raise error_of(_document(f"{self.url}{path}", answer))
            yield answer

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except ssl.SSLError as error:
            raise TerraError(f"{self.url}: its certificate is not trusted: {error}") from error
        except (ConnectionError, TimeoutError, socket.gaierror) as error:
            raise TerraError(f"{self.url}: no {self._service.name} answers", hint=f"start it: {self._service.start}") from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise TerraError(f"{self.url}: {error}") from error

    def _connection(self) -> tuple[http.client.HTTPConnection, str]:
        """A connection that is not made yet, and the beginning of every path there."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("is no http:// or https:// URL")
        if parts.scheme == "http":
            return http.client.HTTPConnection(parts.hostname, parts.port, timeout=_CONNECT_SECONDS), parts.path
        return http.client.HTTPSConnection(
            parts.hostname, parts.port, timeout=_CONNECT_SECONDS, context=tls_context()
        ), parts.path


def tls_context() -> ssl.SSLContext:
    """Whom an ``https://`` URL has to be signed by: the authorities of REQUESTS_CA_BUNDLE, or those of the system."""
    bundle = os.environ.get("REQUESTS_CA_BUNDLE")
    if not bundle:
        return ssl.create_default_context()
    directory = Path(bundle).is_dir()
    return ssl.create_default_context(cafile=None if directory else bundle, capath=bundle if directory else None)


def bearer_token(token: str | None = None) -> str:
    """The token that a request bears: the one given, that of TERRA_TOKEN, or this machine's own.

    :raises TerraError: when there is none.
    """
    token = token or os.environ.get("TERRA_TOKEN") or read_token(Places().token)
    if not token.isascii() or not token.isprintable():
        raise TerraError("TERRA_TOKEN holds no token: a token has neither line breaks nor special characters")
    return token


def error_of(document: Mapping[str, Any]) -> TerraError:
    """The error that a problem document stands for."""
    if document.get("problems"):
        return ConfigError([str(problem) for problem in document["problems"]])
    kind = _KINDS.get(str(document.get("title")), TerraError)
    return kind(str(document.get("detail", "the daemon gave no reason")), hint=str(document.get("hint", "")))


def _document(url: str, answer: http.client.HTTPResponse) -> Mapping[str, Any]:
    with suppress(ValueError, OSError, http.client.HTTPException):
        document = json.loads(answer.read())
        if isinstance(document, dict):
            return document
    return {"detail": f"{url}: {answer.status} {answer.reason}"}


def _events(stream: http.client.HTTPResponse) -> Iterator[tuple[str, Any]]:
    """Server-sent events as the HTML standard has them (section 9.2), as far as Terra's daemons use them."""
    kind, data = "message", ""
    for line in (raw.rstrip("\n") for raw in io.TextIOWrapper(stream, encoding="utf-8")):
        name, _, value = line.partition(":")
        if name == "event":
            kind = value.strip()
        elif name == "data":
            data += value.strip()
        elif not line and data:
            yield kind, json.loads(data)
            kind, data = "message", ""


def _url(address: str, port: int) -> str:
    scheme, separator, rest = address.partition("://")
    if not separator:
        scheme, rest = "http", address
    host = rest.rstrip("/")
    if host.count(":") > 1 and not host.startswith("["):
        host = f"[{host}]"
    named = ":" in host.rpartition("]")[2] or "/" in host
    return f"{scheme}://{host}" if named else f"{scheme}://{host}:{port}"
