"""HTTP for a registry's client: which host may get credentials, over which scheme, and what its failures mean.

Every redirect is checked here: to https:// always, to http:// only where the host may do without TLS, and with the
``Authorization`` header only to the interface of the registry that it was made for. Storage at the same host has an
authorization of its own in the URL, and refuses two.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Protocol
from urllib.parse import SplitResult, urljoin, urlsplit

import requests
import urllib3
from attrs import frozen
from requests.utils import get_environ_proxies

from terra_core.errors import TerraError, words_of
from terra_core.registry.access import RegistryAccess
from terra_core.system.certificates import explain
from terra_core.system.http import BoundedAdapter, BoundedSession

CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 30.0
"""Seconds without any data after which a server counts as gone."""
_REDIRECTS = 5
_REDIRECTED = frozenset({301, 302, 303, 307, 308})
_CONNECTIONS = 8
_PLACE = re.compile(r"[A-Za-z0-9.-]+(?::[0-9]+)?|\[[0-9a-fA-F:.]+\](?::[0-9]+)?")
_PORTS = {"http": 80, "https": 443}
_INTERFACE = "/v2/"
_REFUSED = frozenset({400, 401, 403})
_PROXY_HINT = "set HTTPS_PROXY to http://HOST:PORT, or name the registry in NO_PROXY"
_NO_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "HTTP_REQUEST", "UNKNOWN_PROTOCOL"})


Headers = Mapping[str, str | Sequence[str]]
"""Header fields; a sequence is sent as so many lines, since some servers look at lines as a whole."""


class Unreachable(TerraError):  # noqa: N818  # says what the server is, as NotFound would
    """A server that does not answer, or ended half-way; another attempt may go better.

    :param after: seconds that the server asked the client to wait.
    """

    def __init__(self, message: str, *, hint: str = "", after: float = 0) -> None:
        super().__init__(message, hint=hint)
        self.after = after


class TooSlow(Unreachable):
    """A server that sends too slowly to wait for the end."""


class PlainHttp(TerraError):  # noqa: N818  # see above
    """A server that speaks no TLS where TLS was spoken to it."""


class Content(Protocol):
    """The body of a request: bytes, of which the length is known before they are read."""

    def __len__(self) -> int:
        """Return the length in bytes."""
        ...

    def read(self, length: int, /) -> bytes:
        """Return the next bytes; none at the end."""
        ...


@frozen
class Place:
    """The origin of a URL: what credentials are bound to.

    :param scheme: ``http`` or ``https``.
    :param netloc: host, and port where it is not the scheme's own.
    """

    scheme: str
    netloc: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.netloc}"

    @property
    def host(self) -> str:
        """Return the name without the port."""
        return str(urlsplit(str(self)).hostname)


class Transport:
    """Sends requests; may be used by several threads.

    :param access: how registries are reached.
    """

    def __init__(self, access: RegistryAccess) -> None:
        self.access = access
        self._sessions: dict[str, requests.Session] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Drop every connection."""
        with self._lock:
            for session in self._sessions.values():
                session.close()

    def trusts(self, place: Place) -> bool:
        """Return whether a place may be reached by plain HTTP or without a check of its certificate."""
        return self.access.trusts(place.netloc) or self.access.trusts(f"{place.netloc}:{_PORTS[place.scheme]}")

    def send(
        self,
        method: str,
        url: str,
        headers: Headers,
        *,
        authorization: str = "",
        body: Mapping[str, str] | Content | None = None,
        silence: float | None = None,
    ) -> requests.Response:
        """Send a request and follow where it leads.

        :param authorization: sent to the origin of ``url`` and to no other; along a redirect, to the registry's interface
            there.
        :param body: the fields of a form, for POST, or what is uploaded; that is sent to nobody else.
        :param silence: how many seconds the server may say nothing, and how many the head of the answer may take in all;
            :data:`SILENCE_SECONDS` when left out.
        :returns: the answer, of any status, with its body unread; the caller closes it.
        :raises Unreachable: when there is none.
        :raises TerraError: when it leads to where it must not.
        """
        first = place = self.place_of(url)
        told = authorization
        for hop in range(_REDIRECTS + 1):
            response = self._send(method, url, place, headers, told, body, silence)
            if hop and authorization and place == first and response.status_code in (_REFUSED if told else {401}):
                response.close()  # the path was no sign whether this is the registry or its storage
                response = self._send(method, url, place, headers, "" if told else authorization, body, silence)
            target = response.headers.get("Location")
            if response.status_code not in _REDIRECTED or not target:
                return response
            response.close()
            if body is not None:
                raise TerraError(f"{place}: redirects what was sent to it alone, which is not followed")
            url = joined(url, target)
            place = self._next_place(place, url)
            told = authorization if place == first and _INTERFACE in urlsplit(url).path else ""
        raise TerraError(f"{first}: redirects more than {_REDIRECTS} times")

    def place_of(self, url: str) -> Place:
        """Return the origin of a URL.

        :raises TerraError: when it is none of HTTP, or holds a user's name.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise TerraError(f"{_shown(url)}: is no URL") from None
        if parts.scheme not in ("http", "https") or not _PLACE.fullmatch(parts.netloc):
            raise TerraError(f"{_shown(url)}: is no http:// or https:// URL of a host without a user, and not followed")
        return Place(parts.scheme, _netloc(parts, port))

    def _next_place(self, before: Place, url: str) -> Place:
        place = self.place_of(url)
        if place.scheme == "http" and (before.scheme == "https" or not self.trusts(place)):
            hint = "" if before.scheme == "https" else f"if that is right, {self.access.insecure_hint(place.netloc)}"
            raise TerraError(f"{before}: redirects to plain HTTP at {place.netloc}, which is not followed", hint=hint)
        return place

    def _send(
        self,
        method: str,
        url: str,
        place: Place,
        headers: Headers,
        authorization: str,
        body: Mapping[str, str] | Content | None,
        silence: float | None,
    ) -> requests.Response:
        session = self._session(place)
        fields = urllib3.HTTPHeaderDict({"Accept-Encoding": "identity"})
        if authorization:
            fields["Authorization"] = authorization
        for name, value in headers.items():
            for line in [value] if isinstance(value, str) else value:
                fields.add(name, line)
        try:
            request = session.prepare_request(requests.Request(method, url, data=body))
            kept = urllib3.HTTPHeaderDict({name: value for name, value in request.headers.items() if name not in fields})
            request.headers = kept | fields  # type: ignore[assignment]  # requests' own cannot hold a field twice
            return session.send(
                request,
                stream=True,
                allow_redirects=False,
                verify=not self.trusts(place),
                timeout=(CONNECT_SECONDS, SILENCE_SECONDS if silence is None else silence),
                proxies=get_environ_proxies(url),
            )
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise failure(place, error, self.access.certificate_hint(place.netloc)) from error

    def _session(self, place: Place) -> requests.Session:
        with self._lock:
            session = self._sessions.get(place.netloc)
            if session is None:
                session = self._sessions[place.netloc] = self._make_session(place)
            return session

    def _make_session(self, place: Place) -> requests.Session:
        session = BoundedSession()
        session.trust_env = False  # ~/.netrc holds credentials for others
        session.headers["User-Agent"] = "terra"
        session.cookies.set_policy(_NoCookies())
        adapter = _Adapter(self._context(place))
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        return session

    def _context(self, place: Place) -> ssl.SSLContext:
        context = ssl.create_default_context()
        if self.trusts(place):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # the configuration asks for it
            return context
        for directory in self.access.certificates:
            for authority in sorted((directory / place.netloc).glob("*.crt")):
                try:
                    context.load_verify_locations(authority)
                except OSError as error:
                    raise TerraError(f"{authority}: is no certificate: {words_of(error)}") from error
        return context


class _NoCookies(DefaultCookiePolicy):
    def set_ok(self, cookie: object, request: object) -> bool:
        return False


class _Adapter(BoundedAdapter):
    """Checks certificates against what the system trusts, where requests would take a list of its own."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(pool_maxsize=_CONNECTIONS)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:  # the signature of requests
        super().init_poolmanager(*args, ssl_context=self._context, **options)

    def proxy_manager_for(self, proxy: Any, **options: Any) -> Any:  # the signature of requests
        return super().proxy_manager_for(proxy, ssl_context=self._context, **options)

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Leave the connection to its context."""


def failure(place: Place, error: Exception, certificate_hint: str = "") -> TerraError:
    """Return the error that says what went wrong on the way to a place.

    :param certificate_hint: what to do where its certificate is not trusted.
    """
    cause = _innermost(error)
    reason = (cause.strerror if isinstance(cause, OSError) else "") or str(cause) or type(cause).__name__
    if isinstance(error, requests.exceptions.ProxyError):
        return Unreachable(f"{place.netloc} cannot be reached by the proxy of the environment: {reason[:200].lower()}")
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema) and get_environ_proxies(f"https://{place.netloc}/"):
        said = "the address of the proxy in the environment is none, or of a kind that Terra cannot use"
        return TerraError(f"{place.netloc} cannot be reached: {said}", hint=_PROXY_HINT)  # the address may have a password
    if isinstance(cause, ssl.SSLCertVerificationError):
        said, hint = explain(cause, certificate_hint)
        return TerraError(f"the certificate of {place.netloc} {said}", hint=hint)
    if isinstance(cause, ssl.SSLError) and cause.reason in _NO_TLS:
        return PlainHttp(f"the registry {place.netloc} speaks plain HTTP, not HTTPS")
    if isinstance(cause, ssl.SSLError) and cause.reason:
        return Unreachable(f"{place.netloc}: TLS fails: {cause.reason.replace('_', ' ').lower()}")
    if isinstance(cause, socket.gaierror):
        return Unreachable(f"{place.netloc}: the name cannot be resolved: {(cause.strerror or str(cause)).lower()}")
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError | TimeoutError):
        return Unreachable(f"{place.netloc} does not answer: nothing for {SILENCE_SECONDS:g} seconds")
    return Unreachable(f"{place.netloc} does not answer: {reason[:200].lower()}")


def _innermost(error: BaseException) -> BaseException:
    """Return the error that requests and urllib3 wrap several times over."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = [getattr(error, "reason", None), *error.args, error.__cause__, error.__context__]
        error = next((part for part in inner if isinstance(part, BaseException) and id(part) not in seen), error)
    return error


def _netloc(parts: SplitResult, port: int | None) -> str:
    host = str(parts.hostname)
    host = f"[{host}]" if ":" in host else host
    return host if port in (None, _PORTS[parts.scheme]) else f"{host}:{port}"


def joined(url: str, target: str) -> str:
    """Return a URL, as seen from another.

    :raises TerraError: when it is none.
    """
    try:
        return urljoin(url, target)
    except ValueError:
        raise TerraError(f"{_shown(target)}: is no URL") from None


def _shown(url: str) -> str:
    with suppress(ValueError):
        url = re.sub(r"//[^/?#]*@", "//", url)
    return ascii(url[:200])
