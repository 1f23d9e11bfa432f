"""The protocol of a registry, or of a mirror: the OCI distribution specification, version 1.1."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import TypeVar
from urllib.parse import urlencode, urlsplit

import requests

from terra_core.errors import InterruptedWork, NotFoundError, TerraError
from terra_core.oci import ImageError
from terra_core.oci.structure import DOCUMENT_BYTES, read_document
from terra_core.registry.access import Credentials
from terra_core.registry.answers import short_body
from terra_core.registry.challenge import Challenge, read_challenges
from terra_core.registry.transport import Content, Headers, Place, PlainHttp, TooSlow, Transport, Unreachable

T = TypeVar("T")

_HUB = "docker.io"
_HUB_HOST = "registry-1.docker.io"
_DOCUMENT_SECONDS = 60.0
_ATTEMPTS = 4
_FIRST_PAUSE = 0.3
_LONGEST_PAUSE = 30.0
_TOKEN_BYTES = 1 << 20
_TOKEN = re.compile(r"[\x21-\x7e]+")
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})


class Endpoint:
    """One host that has the repository; may be used by several threads.

    :param name: the registry or mirror, as ``host`` or ``host:port``.
    :param path: the repository.
    :param transport: sends what is to be sent.
    :param scopes: what a token is asked for, as https://distribution.github.io/distribution/spec/auth/scope/ has it; to pull
        when left out.
    """

    def __init__(self, name: str, path: str, transport: Transport, scopes: Sequence[str] | None = None) -> None:
        self.name = name
        self._path = path
        self._access = transport.access
        self._transport = transport
        self._scopes = scopes or [f"repository:{path}:pull"]
        self._host = _HUB_HOST if name == _HUB else name
        # TLS first in any case: a registry without it is asked again without TLS, if that is allowed for it.
        self._schemes = ("https", "http") if self._access.trusts(name) else ("https",)
        self._authorization = ""
        self._hindrance: TerraError | None = None
        self._interface_asked = False
        self._asking = threading.Lock()
        self._lock = threading.Lock()

    def document(self, what: str, accept: tuple[str, ...], *, attempts: int = _ATTEMPTS) -> tuple[bytes, str]:
        """Get something short: a manifest, an index or a configuration.

        :param what: the end of the path, such as ``manifests/latest``.
        :param accept: the media types that will do.
        :param attempts: how often it is tried.
        :returns: its bytes, at most :data:`DOCUMENT_BYTES`, and the media type that the registry gave.
        :raises NotFoundError: when the registry has no such thing.
        :raises TerraError: as the registry said it.
        """

        def get() -> tuple[bytes, str]:
            with self.open(what, {"Accept": accept}) as response:
                self._check_document(response)
                return short_body(response, DOCUMENT_BYTES, _DOCUMENT_SECONDS, self.name), _content_type(response)

        return repeated(get, attempts)

    def digest(self, tag: str, accept: tuple[str, ...]) -> str:
        """Return the digest that the registry says a tag has; nothing when it does not say, or knows no such question.

        :param accept: the media types that will do: a registry may have another document for others.
        """
        try:
            with self.open(f"manifests/{tag}", {"Accept": accept}, method="HEAD") as response:
                return response.headers.get("Docker-Content-Digest", "")
        except TerraError:  # the request for the document itself reports the error
            return ""

    def open(self, what: str, headers: Headers, *, method: str = "GET") -> requests.Response:
        """Ask for something, once, and give the answer of status 200 or 206, its body not read yet.

        :raises Unreachable: when the registry does not answer, or is too busy.
        :raises TerraError: when it refuses.
        """
        return self.request(method, what, headers, accept=(200, 206))

    def request(
        self,
        method: str,
        what: str,
        headers: Headers,
        *,
        accept: Collection[int],
        content: Callable[[], Content] | None = None,
        silence: float | None = None,
    ) -> requests.Response:
        """Ask for something, once, and give an answer of one of the statuses ``accept``, its body not read yet.

        :param what: the end of the path, or a URL that the registry gave; only the registry itself gets credentials.
        :param content: gives what is sent, from its beginning.
        :param silence: as for :meth:`Transport.send`.
        :raises Unreachable: when the registry does not answer, or is too busy.
        :raises TerraError: when it refuses.
        """

        def ask(authorization: str) -> requests.Response:
            return self._ask(method, what, headers, authorization, content() if content else None, silence)

        used = self._authorization
        response = ask(used)
        if response.status_code == 401 and self._is_own(response):
            challenges = _challenges(response)
            response.close()
            self._log_in(used, challenges)
            response = ask(self._authorization)
        elif response.status_code in (403, 404) and not used and self._asks_for_login():
            response.close()
            response = ask(self._authorization)
        if response.status_code not in accept:
            with response:
                raise self._refusal(response)
        return response

    def _ask(
        self,
        method: str,
        what: str,
        headers: Headers,
        authorization: str,
        body: Content | None,
        silence: float | None,
    ) -> requests.Response:
        if "://" in what:
            place = self._transport.place_of(what)
            if place.scheme == "http" and not self._transport.trusts(place):
                raise TerraError(f"the registry {self.name} leads to {place}, without TLS, which is not followed")
            told = authorization if place == self._transport.place_of(f"{self._schemes[0]}://{self._host}") else ""
            return self._transport.send(method, what, headers, authorization=told, body=body, silence=silence)
        schemes = self._schemes
        for scheme in schemes:
            url = f"{scheme}://{self._host}/v2/{self._path}/{what}"
            try:
                response = self._transport.send(method, url, headers, authorization=authorization, body=body, silence=silence)
            except (Unreachable, PlainHttp) as error:
                if scheme == schemes[-1]:
                    raise self._without_tls(error) from error
                continue
            self._schemes = (scheme,)
            return response
        raise AssertionError("there is always a scheme")

    def _without_tls(self, error: TerraError) -> TerraError:
        if isinstance(error, PlainHttp):
            return PlainHttp(error.message, hint=f"to trust it, {self._access.insecure_hint(self.name)}")
        return error

    def _is_own(self, response: requests.Response) -> bool:
        """Return whether it is the registry that answered, not some other host that it sent us to."""
        return urlsplit(response.url).hostname == urlsplit(f"//{self._host}").hostname

    def _asks_for_login(self) -> bool:
        """Return whether the interface itself asks for a login, and log in then: a registry may hide what it has from others.

        Docker and skopeo ask the interface before anything else. It is asked once.
        """
        with self._asking:
            if self._interface_asked:
                return bool(self._authorization)
            self._interface_asked = True
            try:
                with self._ask("GET", f"{self._schemes[0]}://{self._host}/v2/", {}, "", None, None) as response:
                    challenges = _challenges(response) if response.status_code == 401 and self._is_own(response) else ""
                if challenges:
                    self._log_in("", challenges)
            except InterruptedWork:
                raise
            except TerraError:  # the answer to what was asked for says what is wrong
                return False
            return bool(self._authorization)

    def _log_in(self, used: str, header: str) -> None:
        with self._lock:
            if self._authorization == used:  # else another thread was faster
                self._authorization = self._answer_to(header)

    def _answer_to(self, header: str) -> str:
        challenges = {challenge.scheme: challenge for challenge in reversed(read_challenges(header))}
        credentials = self._credentials()
        if credentials and credentials.registry_token:
            return f"Bearer {credentials.registry_token}"
        if "bearer" in challenges:
            return f"Bearer {self._token(challenges['bearer'], credentials)}"
        if "basic" in challenges and credentials and credentials.user:
            return credentials.basic
        if "basic" in challenges:
            raise self._refused("it asks for a user and a password")
        raise self._refused("it asks for a kind of login that is not known")

    def _credentials(self) -> Credentials | None:
        """Return what is stored for the registry; a fault there is an error only where the registry refuses us without."""
        try:
            return self._access.credentials(self.name)
        except InterruptedWork:
            raise
        except TerraError as error:
            self._hindrance = error
            return None

    def _token(self, challenge: Challenge, credentials: Credentials | None) -> str:
        realm = challenge.parameters.get("realm", "")
        place = self._transport.place_of(realm)
        if place.scheme == "http" and not self._transport.trusts(place):
            raise TerraError(f"the registry {self.name} names a token service without TLS, {place}, which is not asked")
        fields = {"service": service} if (service := challenge.parameters.get("service")) else {}
        if credentials is not None and not self._may_know(place):
            credentials = None
        with self._ask_for_token(realm, fields, credentials) as response:
            if response.status_code in (400, 401, 403, 404):
                raise self._refused(f"its token service {place.netloc} answered {response.status_code}")
            if response.status_code != 200:
                raise self._refusal(response)
            answer = read_document(short_body(response, _TOKEN_BYTES, _DOCUMENT_SECONDS, self.name), f"the answer of {place}")
        token = answer["token"] if answer["token"].value else answer["access_token"]
        if not _TOKEN.fullmatch(token.text()):
            raise TerraError(f"{place}: gave no token that could be used")
        return token.text()

    def _may_know(self, place: Place) -> bool:
        """Return whether a token service may be told the credentials for this registry."""
        checked = place.scheme == "https" and not self._transport.trusts(place)
        return checked or place.host == urlsplit(f"//{self._host}").hostname

    def _ask_for_token(self, realm: str, fields: Mapping[str, str], credentials: Credentials | None) -> requests.Response:
        if credentials is not None and credentials.identity_token:
            form = {**fields, "scope": " ".join(self._scopes), "grant_type": "refresh_token", "client_id": "terra"}
            form["refresh_token"] = credentials.identity_token
            return self._transport.send("POST", realm, {}, body=form)
        url = f"{realm}{'&' if '?' in realm else '?'}{urlencode({**fields, 'scope': self._scopes}, doseq=True)}"
        return self._transport.send("GET", url, {}, authorization=credentials.basic if credentials else "")

    def _check_document(self, response: requests.Response) -> None:
        if _content_type(response) in ("text/html", "application/xhtml+xml"):
            raise ImageError(f"{self.name} sent a web page where a registry sends a document", hint="is that a registry?")

    def _refusal(self, response: requests.Response) -> TerraError:
        status, said = response.status_code, self._said(response)
        if status == 404:
            return NotFoundError(f"the registry {self.name} has no such image")
        if status in (401, 403):
            return self._refused(said)
        if status == 416:
            return ImageError(f"{self.name} has no rest of what it had sent the beginning of")
        if status == 429:
            return Unreachable(
                f"the registry {self.name} says that there were too many requests",
                hint=f"wait a while, or {self._access.login_hint(self.name)}",
                after=_retry_after(response.headers.get("Retry-After", "")),
            )
        error = f"the registry {self.name} answered {said}"
        if status in _BUSY:
            return Unreachable(error, after=_retry_after(response.headers.get("Retry-After", "")))
        return TerraError(error)

    def _said(self, response: requests.Response) -> str:
        try:
            answer = read_document(short_body(response, 1 << 16, _DOCUMENT_SECONDS, self.name), "")
            text = next(item["message"].text() for item in answer["errors"].items())
        except (TerraError, StopIteration):
            text = ""
        text = " ".join(part for part in (str(response.status_code), response.reason, text) if part)
        return "".join(letter for letter in text[:200] if letter.isprintable())

    def _refused(self, why: str) -> TerraError:
        error = f"the registry {self.name} refused it: {why}"
        if self._hindrance is not None:
            return TerraError(f"{error}; {self._hindrance.message}", hint=self._hindrance.hint)
        return TerraError(error, hint=self._access.login_hint(self.name))


def _challenges(response: requests.Response) -> str:
    return ", ".join(response.raw.headers.getlist("WWW-Authenticate"))


def _content_type(response: requests.Response) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def repeated(work: Callable[[], T], attempts: int) -> T:
    """Try something again while the server does not answer, with longer and longer pauses; half as often while it is slow."""
    pause, waiting = _FIRST_PAUSE, threading.Event()
    while True:
        try:
            return work()
        except Unreachable as error:
            attempts -= 2 if isinstance(error, TooSlow) else 1
            if attempts <= 0:
                raise
            waiting.wait(min(max(pause, error.after), _LONGEST_PAUSE))
            pause *= 3


def _retry_after(text: str) -> float:
    """Return the seconds of a Retry-After header, in either form of RFC 9110 section 10.2.3."""
    if re.fullmatch(r"[0-9]{1,6}", text):
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0
