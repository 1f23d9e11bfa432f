"""The client of Terra's daemons: requests with the token, errors as they were raised, progress as it happens."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import requests
from attrs import frozen

from terra_core.config.controller import API_PORT, Places
from terra_core.errors import ConfigError, ConflictError, InterruptedWork, NotFoundError, TerraError
from terra_core.service.tokens import read_token
from terra_core.system.progress import Event, Report, silent
from terra_core.system.signals import deferred

_CONNECT_SECONDS = 5
_ANSWER_SECONDS = 60
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

    def __init__(
        self, address: str, *, token: str | None = None, port: int = API_PORT, service: Service = CONTROLLER
    ) -> None:
        self.url = _url(address, port)
        self.token = bearer_token(token)
        self._service = service
        self._http = requests.Session()
        self._http.trust_env = False  # a proxy of the environment is for the outside, and the token must not pass it
        self._http.verify = os.environ.get("REQUESTS_CA_BUNDLE") or True
        self._http.headers["Authorization"] = f"Bearer {self.token}"

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
        with self._send("GET", path, stream=True, timeout=(_CONNECT_SECONDS, _ANSWER_SECONDS)) as answer:
            try:
                yield from answer.iter_content(None)
            except requests.RequestException as error:
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
        with self._send(
            "GET", f"/v1/operations/{operation}/events", stream=True, timeout=(_CONNECT_SECONDS, _ANSWER_SECONDS)
        ) as stream:
            for kind, data in self._messages(stream):
                if kind == "progress":
                    report(Event(**data))
                elif kind in ("result", "problem"):
                    return kind, data
        raise self._cut_off()

    def _messages(self, stream: requests.Response) -> Iterator[tuple[str, Any]]:
        try:
            yield from _events(stream)
        except requests.RequestException as error:
            raise self._cut_off() from error

    def _cut_off(self) -> TerraError:
        hint = f"see what became of it: {self._service.listing}"
        return TerraError(f"{self.url}: the connection ended before the work did", hint=hint)

    def _request(self, method: str, path: str, body: object = None) -> Any:  # JSON
        options = {} if body is None else {"data": self._encoded(body), "headers": {"Content-Type": "application/json"}}
        answer = self._send(method, path, timeout=(_CONNECT_SECONDS, _ANSWER_SECONDS), **options)
        try:
            return answer.json() if answer.content else None
        except ValueError:
            wrong = f"{self.url}: what answers there is no {self._service.name}"
            raise TerraError(wrong, hint="is the address right?") from None

    def _encoded(self, body: object) -> bytes:
        try:
            return json.dumps(body, allow_nan=False).encode()
        except (TypeError, ValueError) as error:  # TOML knows dates, and numbers that are none
            raise TerraError(f"{self.url}: this cannot be sent as JSON: {error}") from None

    def _send(self, method: str, path: str, **options: Any) -> requests.Response:  # requests' own
        try:
            answer = self._http.request(method, f"{self.url}{path}", allow_redirects=False, **options)
        except requests.exceptions.SSLError as error:
            raise TerraError(f"{self.url}: its certificate is not trusted: {error}") from error
        except requests.ConnectionError as error:
            raise TerraError(f"{self.url}: no {self._service.name} answers", hint=f"start it: {self._service.start}") from error
        except requests.RequestException as error:
            raise TerraError(f"{self.url}: {error}") from error
        if answer.status_code >= 300:
            raise error_of(_document(answer))
        return answer


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


def _document(answer: requests.Response) -> Mapping[str, Any]:
    with suppress(ValueError):
        document = answer.json()
        if isinstance(document, dict):
            return document
    return {"detail": f"{answer.url}: {answer.status_code} {answer.reason}"}


def _events(stream: requests.Response) -> Iterator[tuple[str, Any]]:
    """Server-sent events as the HTML standard has them (section 9.2), as far as Terra's daemons use them."""
    kind, data = "message", ""
    for line in stream.iter_lines(decode_unicode=True):
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
