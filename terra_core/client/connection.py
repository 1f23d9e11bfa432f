"""The client of Terra's daemons: requests with the token, errors as they were raised, progress as it happens."""

from __future__ import annotations

import http.client
import json
import math
import os
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from attrs import frozen

from terra_core.client.address import url_of
from terra_core.config.controller import API_PORT, Paths
from terra_core.config.structure import StructureError, structure
from terra_core.errors import (
    ConfigError,
    ConflictError,
    ForbiddenError,
    InterruptedWork,
    NotFoundError,
    TerraError,
    UnavailableError,
)
from terra_core.service.answers import Begun
from terra_core.service.events import parse_events
from terra_core.service.tokens import read_token
from terra_core.system.certificates import explain
from terra_core.system.process import interruption, uninterrupted
from terra_core.system.progress import Event, Report, silent
from terra_core.system.reading import open_regular, read_regular, salvaged
from terra_core.system.reasons import reason_of
from terra_core.system.signals import Held, held
from terra_core.system.timed_socket import TimedSocket, TimeLeft, shake_hands
from terra_core.system.undo import Undo

_CONNECT_SECONDS = 5
_SILENCE_SECONDS = 60
_HEAD_SECONDS = 90
_BODY_SECONDS = 300
_LINE_SECONDS = 60
_ANSWER_LIMIT = 64 * 1024 * 1024
_REFUSAL_LIMIT = 1024 * 1024
_CHUNK = 65536
_LONGEST_URL = 1024
_KINDS: Mapping[str, type[TerraError]] = {
    kind.__name__: kind for kind in (ConflictError, ForbiddenError, NotFoundError, InterruptedWork, UnavailableError)
}


@frozen
class Service:
    """What the daemon at the other end is, for messages.

    :param name: what it is, in a word.
    :param start: the command that starts it.
    :param listing: the command that shows what became of its work.
    :param certified: whether an address without a scheme means ``https://`` where the controller's authority is known here.
    """

    name: str
    start: str
    listing: str
    certified: bool = False


CONTROLLER = Service("controller", "terra controller", "terra list", certified=True)


class NobodyAnswersError(TerraError):
    """Nobody listens there, or who does ended the connection before it answered."""


class Client:
    """A connection to a daemon.

    :param address: an address, ``ADDRESS:PORT``, or an ``http://`` or ``https://`` URL.
    :param token: the API's token; from TERRA_TOKEN, or this machine's own daemon, when left out.
    :param port: the port where ``address`` names none.
    :param service: what the daemon is.
    :param warn: is told, once, when the token goes to another machine by plain HTTP.
    :param authority: the file of the controller's authority, where there is one; that of this machine when left out.
    :raises TerraError: when there is no token, or ``address`` is none.
    """

    def __init__(
        self,
        address: str,
        *,
        token: str | None = None,
        port: int = API_PORT,
        service: Service = CONTROLLER,
        warn: Callable[[str], object] | None = None,
        authority: Path | None = None,
    ) -> None:
        self.url = url_of(address, port, scheme="https" if service.certified and _own_authority(authority) else "http")
        self.token = bearer_token(token)
        self._service = service
        self._warn = warn
        self._authority = authority

    def get(self, path: str) -> Any:  # JSON
        """Return the document at ``path``."""
        return self._request("GET", path)

    def post(self, path: str, body: object) -> Any:  # JSON
        """Return what the daemon answers to ``body``."""
        return self._request("POST", path, body)

    def put(self, path: str, body: object) -> Any:  # JSON
        """Return what the daemon answers to ``body`` in the place of what is at ``path``."""
        return self._request("PUT", path, body)

    def delete(self, path: str) -> Any:  # JSON
        """Return what the daemon answers to the removal of ``path``."""
        return self._request("DELETE", path)

    def stream(self, path: str) -> Iterator[bytes]:
        """Yield what the daemon sends at ``path``, as it comes; it has to send something every minute."""
        with self._asked("GET", path) as answer:
            answer.time.set(math.inf)  # a stream may be endless; silence ends it
            try:
                while data := answer.read1(_CHUNK):
                    yield data
            except (OSError, http.client.HTTPException) as error:
                raise TerraError(f"{self.url}: the connection ended: {reason_of(error)}") from error

    def carry_out(self, begin: Callable[[], Any], report: Report = silent) -> Any:  # JSON
        """Begin an operation, follow it to its end, and give its result.

        Where a signal ends the work here, the operation is cancelled, whenever the signal comes; see :meth:`follow`.

        :param begin: asks the daemon for it; a signal that comes meanwhile waits until it is known what to cancel.
        :param report: takes the operation's events.
        :raises TerraError: as the operation did.
        """
        with held() as signals:
            answer = begin()
            try:
                operation = structure(answer, Begun).operation
            except StructureError:
                raise self._stranger() from None
            return self._followed(operation, report, signals)

    def follow(self, operation: str, report: Report) -> Any:  # JSON
        """Follow an operation to its end, and give its result.

        When the work here is interrupted, cancel the operation and wait until it is undone; if it has ended before, its result
        counts.

        :param operation: the operation's id.
        :param report: takes the operation's events.
        :raises TerraError: as the operation did.
        """
        with held() as signals:
            return self._followed(operation, report, signals)

    @contextmanager
    def exchange(
        self, method: str, path: str, *, body: bytes | None = None, headers: Mapping[str, str]
    ) -> Iterator[Answer]:
        """Yield the answer to a request, whatever it is, before its content is read; no proxy sees the token.

        :param headers: those of the request beside its token.
        :raises TerraError: when there is none.
        """
        bearer = {"Authorization": f"Bearer {self.token}"}
        with Undo() as stack:
            with self._explained():
                connection, prefix = self._connection()
                stack.enter_context(closing(connection))
                connection.connect()
                if connection.sock is not None:
                    connection.sock.settimeout(_SILENCE_SECONDS)
                    self._see_who_listens(connection.sock)
                connection.request(method, f"{prefix}{path}", body=body, headers={**headers, **bearer})
                answer = cast("Answer", stack.enter_context(connection.getresponse()))
                answer.time.set(_BODY_SECONDS)
            yield answer

    def _followed(self, operation: str, report: Report, signals: Held) -> Any:  # JSON
        try:
            with signals.let_through():
                kind, data = self._outcome(operation, report)
        except (KeyboardInterrupt, InterruptedWork):
            self.delete(f"/v1/operations/{operation}")
            with signals.let_through(), uninterrupted():
                kind, data = self._outcome(operation, silent)
            if kind == "problem" and isinstance(error_of(data), InterruptedWork):
                raise
        if kind == "problem":
            raise error_of(data)
        return data

    def _outcome(self, operation: str, report: Report) -> tuple[str, Any]:  # JSON
        try:
            with self._asked("GET", f"/v1/operations/{operation}/events") as stream:
                for kind, data in self._messages(stream):
                    if kind == "progress":
                        report(self._event(data))
                    elif kind in ("result", "problem"):
                        return kind, data
        except NobodyAnswersError as error:  # it has begun the work, and so was there a moment ago
            raise self._cut_off() from error
        raise self._cut_off()

    def _messages(self, stream: Answer) -> Iterator[tuple[str, Any]]:
        def allow() -> None:
            stream.time.set(_LINE_SECONDS)  # the work may take any time, but has to report now and then
            asked = interruption.get()
            if asked is not None and asked():  # also while there is no progress
                raise InterruptedWork("interrupted")

        allow()
        try:
            yield from parse_events(iter(lambda: stream.read1(_CHUNK), b""), allow)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._cut_off() from error

    def _event(self, data: Any) -> Event:  # JSON
        try:
            return structure(data, Event)
        except StructureError:
            raise self._stranger() from None

    def _stranger(self) -> TerraError:
        return TerraError(f"{self.url}: what answers there is no {self._service.name}", hint="is the address right?")

    def _cut_off(self) -> TerraError:
        hint = f"see what became of it: {self._service.listing}"
        return TerraError(f"{self.url}: the connection ended before the work did", hint=hint)

    def _request(self, method: str, path: str, body: object = None) -> Any:  # JSON
        try:
            with self._asked(method, path, None if body is None else self._encoded(body)) as answer:
                content = answer.whole(_ANSWER_LIMIT)
        except (OSError, http.client.HTTPException) as error:
            raise TerraError(f"{self.url}: the connection ended: {reason_of(error)}") from error
        try:
            return json.loads(content) if content else None
        except (ValueError, RecursionError):
            raise self._stranger() from None

    def _encoded(self, body: object) -> bytes:
        try:
            return json.dumps(body, allow_nan=False).encode()
        except (TypeError, ValueError) as error:  # TOML knows dates, and numbers that are none
            raise TerraError(f"{self.url}: this cannot be sent as JSON: {error}") from None

    @contextmanager
    def _asked(self, method: str, path: str, body: bytes | None = None) -> Iterator[Answer]:
        """Yield the answer to a request before its content is read; a redirect is an error, as every other status above it."""
        headers = {} if body is None else {"Content-Type": "application/json"}
        with self.exchange(method, path, body=body, headers=headers) as answer:
            if answer.status >= 300:
                raise error_of(_document(f"{self.url}{path}", answer))
            yield answer

    def _see_who_listens(self, connection: socket.socket) -> None:
        """Warn once when the token goes to another machine by plain HTTP, where it can be read on its way."""
        if self._warn is None or self.url.startswith("https:") or _is_of_this_machine(connection):
            return
        self._warn(
            f"{self.url}: the token goes there by plain HTTP, and whoever is in between can read it; "
            "`terra controller init` on that machine gives the controller a certificate"
        )
        self._warn = None

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except ssl.SSLCertVerificationError as error:
            hint = "name the file of its authority, such as the controller's ca.pem, in TERRA_CA, or in REQUESTS_CA_BUNDLE"
            said, hint = explain(error, hint)
            raise TerraError(f"{self.url}: its certificate {said}", hint=hint) from error
        except ssl.SSLError as error:
            said = (error.reason or str(error)).replace("_", " ").lower()
            raise TerraError(f"{self.url}: TLS fails: {said}", hint="does it answer by plain http://?") from error
        except socket.gaierror as error:
            raise TerraError(f"{self.url}: the name cannot be resolved: {error.strerror}", hint="is it right?") from error
        except TimeoutError as error:
            hint = f"is the address right, is the machine on, and does a firewall let port {urlsplit(self.url).port} through?"
            raise TerraError(f"{self.url}: does not answer", hint=hint) from error
        except (ConnectionRefusedError, ConnectionResetError, BrokenPipeError) as error:
            hint = f"start it: {self._service.start}"
            if not isinstance(error, ConnectionRefusedError) and self.url.startswith("http:"):
                hint += "; or does it answer by https:// only?"
            raise NobodyAnswersError(f"{self.url}: no {self._service.name} answers", hint=hint) from error
        except OSError as error:
            hint = "is the address right, and is the machine on?"
            raise TerraError(f"{self.url}: cannot be reached: {error.strerror or error}", hint=hint) from error
        except (http.client.HTTPException, ValueError) as error:
            raise TerraError(f"{self.url}: {error}") from error

    def _connection(self) -> tuple[http.client.HTTPConnection, str]:
        """Return a connection that is not made yet, and the beginning of every path there."""
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("is no http:// or https:// URL")
        if parts.scheme == "http":
            return _Plain(parts.hostname, parts.port, timeout=_CONNECT_SECONDS), parts.path
        context = tls_context(self._authority)
        return _Secure(parts.hostname, parts.port, timeout=_CONNECT_SECONDS, context=context), parts.path


class Answer(http.client.HTTPResponse):
    """An answer with a time limit for its head, and then the limit that :attr:`time` is set to."""

    def __init__(self, connection: socket.socket, *args: Any, **kwargs: Any) -> None:  # http.client's own
        self._socket = connection
        self.time = TimeLeft()
        self.time.set(_HEAD_SECONDS)
        timed: Any = TimedSocket(connection, _SILENCE_SECONDS, self.time)  # the part of a socket that http.client uses
        super().__init__(timed, *args, **kwargs)

    def cut(self) -> None:
        """End the connection; a thread that reads from it goes on at once."""
        with suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # that of TLS would say farewell first

    def whole(self, limit: int) -> bytes:
        """Return all of its content.

        :param limit: in bytes.
        :raises OSError: when it has more, or takes too long.
        :raises http.client.HTTPException: when it is none.
        """
        try:
            content = self.read(limit + 1)
        except ValueError as error:  # a chunk of a length below zero
            raise http.client.HTTPException(str(error)) from error
        if len(content) > limit:
            raise OSError(f"the answer is larger than {limit // 1024**2} MiB")
        if self.length:
            raise http.client.IncompleteRead(content, self.length)
        return content


class _Plain(http.client.HTTPConnection):
    response_class = Answer


class _Secure(http.client.HTTPSConnection):
    response_class = Answer

    def __init__(self, *args: Any, context: ssl.SSLContext, **kwargs: Any) -> None:  # http.client's own
        super().__init__(*args, context=context, **kwargs)
        self._tls = context

    def connect(self) -> None:
        """Connect, and make the handshake within the same time; the library would wait for every byte of it anew."""
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self.host, do_handshake_on_connect=False)
        shake_hands(self.sock, _CONNECT_SECONDS)


def _is_of_this_machine(connection: socket.socket) -> bool:
    """Return whether the other end of a connection has an address of this machine's: only those can be bound."""
    try:
        with socket.socket(connection.family, socket.SOCK_DGRAM) as probe:
            probe.bind((connection.getpeername()[0], 0))
    except OSError:
        return False
    return True


def tls_context(authority: Path | None = None) -> ssl.SSLContext:
    """Return the TLS context of ``https://`` connections.

    It trusts what TERRA_CA names and nothing else, or else what REQUESTS_CA_BUNDLE names or the system's authorities, with the
    authority of this machine's own controller.

    :param authority: the file of that, which need not be there; the usual one when left out.
    :raises TerraError: when what a variable names cannot be used.
    """
    if named := os.environ.get("TERRA_CA"):
        return _trusting("TERRA_CA", named)
    bundle = os.environ.get("REQUESTS_CA_BUNDLE")
    context = _trusting("REQUESTS_CA_BUNDLE", bundle) if bundle else ssl.create_default_context()
    if own := _own_authority(authority):
        try:
            open_regular(Path(own)).close()  # OpenSSL waits for the writer of a FIFO
            context.load_verify_locations(cafile=own)
        except OSError as error:
            raise TerraError(f"{own}: cannot be used: {_reason(error)}", hint="terra controller init made it") from error
    return context


def _trusting(variable: str, bundle: str) -> ssl.SSLContext:
    directory = Path(bundle).is_dir()
    try:
        if not directory:
            open_regular(Path(bundle)).close()  # see above
        return ssl.create_default_context(cafile=None if directory else bundle, capath=bundle if directory else None)
    except OSError as error:
        hint = "it names a PEM file of certificates, or a directory of them as `openssl rehash` prepares it"
        raise TerraError(f"{variable}: {bundle}: cannot be used: {_reason(error)}", hint=hint) from error


def _reason(error: OSError) -> str:  # ssl.SSLError is one
    text = error.reason.replace("_", " ").lower() if isinstance(error, ssl.SSLError) and error.reason else error.strerror
    return text or str(error)


def _own_authority(authority: Path | None = None) -> str:
    """Return the file of the authority by which a controller is known here; empty where there is none."""
    named, own = os.environ.get("TERRA_CA"), authority or Paths().authority
    try:
        return named or (str(own) if own.exists() else "")
    except PermissionError:  # /etc/terra is closed to all but root, as by its umask
        return ""


def bearer_token(token: str | None = None) -> str:
    """Return the token that a request bears: the one given, that of TERRA_TOKEN or TERRA_TOKEN_FILE, or this machine's own.

    :param token: the one given, which may be a stranger's: an empty one is never replaced by one of this machine's.
    :raises TerraError: when there is none.
    """
    if token == "":
        raise TerraError("the token that was given is empty")
    token = token or os.environ.get("TERRA_TOKEN")
    if not token:
        file = os.environ.get("TERRA_TOKEN_FILE")
        token = read_token(Path(file), variable="TERRA_TOKEN_FILE") if file else read_token(Paths().token)
    if not token.isascii() or not token.isprintable():
        raise TerraError("TERRA_TOKEN holds no token: a token has neither line breaks nor special characters")
    return token


def own_url() -> str | None:
    """Return the URL of the controller that runs on this machine; ``None`` where none does."""
    try:
        url = salvaged(read_regular(Paths().url, _LONGEST_URL)).strip()
    except OSError:
        return None
    return url if url.startswith(("http://", "https://")) else None


def error_of(document: object) -> TerraError:
    """Return the error that a problem document stands for."""
    found: Mapping[str, Any] = document if isinstance(document, Mapping) else {}
    problems = found.get("problems")
    if problems and isinstance(problems, list):
        return ConfigError([str(problem) for problem in problems])
    kind = _KINDS.get(str(found.get("title")), TerraError)
    return kind(str(found.get("detail", "the daemon gave no reason")), hint=str(found.get("hint", "")))


def _document(url: str, answer: Answer) -> Mapping[str, Any]:
    with suppress(ValueError, RecursionError, OSError, http.client.HTTPException):
        document = json.loads(answer.whole(_REFUSAL_LIMIT))
        if isinstance(document, dict):
            return document
    return {"detail": f"{url}: {answer.status} {answer.reason}"}
