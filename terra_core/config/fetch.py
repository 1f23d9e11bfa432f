"""A configuration file from a URL: bounded in size and time, and never from anywhere but HTTP."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from terra_core.errors import TerraError
from terra_core.system.reasons import reason_of

if TYPE_CHECKING:
    import requests

SIZE_LIMIT = 1024 * 1024
"""The largest configuration file, in bytes."""
TIME_LIMIT = 20.0
"""Seconds for a server to answer, and for the whole file to arrive."""
_REDIRECTS = 5
_ESCAPES = "in a user's name or password, / is written as %2F, : as %3A, @ as %40, ? as %3F and # as %23"
_REDIRECTED = frozenset({301, 302, 303, 307, 308})


def fetch(url: str, *, seconds: float | None = None) -> tuple[str, bytes]:
    """Get a file; a redirect is followed to ``https://``, and to ``http://`` from ``http://`` only.

    :param url: an ``http://`` or ``https://`` URL.
    :param seconds: how long it may take in all, :data:`TIME_LIMIT` when left out.
    :returns: the URL as messages may show it, without user and password, and at most one byte more than :data:`SIZE_LIMIT`.
    :raises TerraError: when the server is not there, is too slow, or has no such file.
    """
    from terra_core.system.http import BoundedSession, read_body  # here, because most runs read a file

    name = _without_user(url)
    limit = TIME_LIMIT if seconds is None else seconds
    deadline = time.monotonic() + limit
    with _explained(name, limit), BoundedSession() as session, _answer(session, url, name, deadline) as response:
        _check(response, name)
        body = read_body(response, SIZE_LIMIT, max(deadline - time.monotonic(), 0))
        if len(body) < min(int(response.headers.get("Content-Length", 0)), SIZE_LIMIT):
            raise ConnectionError("the connection ended half-way")
        return name, body


def _answer(session: requests.Session, url: str, name: str, deadline: float) -> requests.Response:
    """Return the answer at the end of all redirects, its body not read yet."""
    from requests.utils import get_auth_from_url

    user, password = get_auth_from_url(url)
    first = urlsplit(_without_user(url))[:2]
    for _ in range(_REDIRECTS + 1):
        _check_place(url)
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        auth = (user, password) if user and urlsplit(_without_user(url))[:2] == first else None
        headers = {"Accept-Encoding": "identity"}
        response = session.get(url, auth=auth, headers=headers, timeout=left, stream=True, allow_redirects=False)
        target = response.headers.get("Location")
        if response.status_code not in _REDIRECTED or not target:
            return response
        response.close()
        before, url = urlsplit(url).scheme.lower(), urljoin(url, target)
        if urlsplit(url).scheme.lower() not in ("https", before):
            raise TerraError(
                f"{name}: the server redirects to somewhere else than an http:// or https:// URL, or from https:// to http://"
            )
    raise TerraError(f"{name}: the server redirects more than {_REDIRECTS} times")


def _check_place(url: str) -> None:
    """Refuse a URL whose host or port is none; the library's own error shows all of it, with the password."""
    if not _is_placed(url):
        raise TerraError(f"{shown_source(url)}: has no host and port that can be asked", hint=_ESCAPES if "@" in url else "")


def _is_placed(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def shown_source(source: str) -> str:
    """Return what a user named as a file as messages may show it: a URL without user and password.

    :param source: a path, a URL of any kind, or ``-``.
    """
    scheme, separator, rest = source.partition("://")
    if not separator or _is_placed(source):
        return _without_user(source)
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _check(response: requests.Response, name: str) -> None:
    if response.status_code != 200:
        raise TerraError(f"{name}: the server answered {response.status_code} {response.reason}".rstrip())
    if "html" in response.headers.get("Content-Type", ""):
        raise TerraError(f"{name}: the server sent a web page instead of a TOML file")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise TerraError(f"{name}: the server compressed the file without being asked to")


@contextmanager
def _explained(name: str, seconds: float) -> Iterator[None]:
    import requests
    import urllib3

    try:
        yield
    except (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError):
        raise TerraError(f"{name}: the server took longer than {seconds:g} seconds") from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise TerraError(f"{name}: cannot be fetched: {reason_of(error)}") from error


def _without_user(url: str) -> str:
    return re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*://)[^/?#]*@", r"\1", url)
