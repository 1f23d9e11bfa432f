"""A configuration file from a URL: bounded in size and time, and never from anywhere but HTTP."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from terra_core.errors import TerraError

if TYPE_CHECKING:
    import requests

SIZE_LIMIT = 1024 * 1024
"""The size in bytes beyond which nothing is a configuration file."""
TIME_LIMIT = 20.0
"""Seconds for a server to answer, and for the whole file to arrive."""
_REDIRECTS = 5


def fetch(url: str, *, seconds: float | None = None) -> tuple[str, bytes]:
    """Get a file; a redirect is followed to ``https://``, and to ``http://`` from ``http://`` only.

    :param url: an ``http://`` or ``https://`` URL.
    :param seconds: how long it may take, :data:`TIME_LIMIT` when left out.
    :returns: the URL as messages may show it, without user and password, and at most one byte more than :data:`SIZE_LIMIT`.
    :raises TerraError: when the server is not there, is too slow, or has no such file.
    """
    import requests  # here, because most runs read a file

    name = _without_user(url)
    limit = TIME_LIMIT if seconds is None else seconds
    deadline = time.monotonic() + limit
    with _explained(name, limit), requests.Session() as session:
        session.max_redirects = _REDIRECTS
        if url.lower().startswith("https://"):
            session.adapters.pop("http://")  # plain HTTP is never a silent fall-back
        session.headers["Accept-Encoding"] = "identity"
        with session.get(url, timeout=limit, stream=True) as response:
            _check(response, name)
            return name, _body(response, deadline)


def _check(response: requests.Response, name: str) -> None:
    if response.status_code != 200:
        raise TerraError(f"{name}: the server answered {response.status_code} {response.reason}".rstrip())
    if "html" in response.headers.get("Content-Type", ""):
        raise TerraError(f"{name}: the server sent a web page instead of a TOML file")
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise TerraError(f"{name}: the server compressed the file without being asked to")


def _body(response: requests.Response, deadline: float) -> bytes:
    data = b""
    while len(data) <= SIZE_LIMIT:
        piece = response.raw.read1(SIZE_LIMIT + 1 - len(data))
        data += piece
        if not piece:
            break
        if time.monotonic() > deadline:
            raise TimeoutError
    if len(data) < min(int(response.headers.get("Content-Length", 0)), SIZE_LIMIT):
        raise ConnectionError("the connection ended half-way")
    return data


@contextmanager
def _explained(name: str, seconds: float) -> Iterator[None]:
    import requests
    import urllib3

    try:
        yield
    except requests.exceptions.InvalidSchema:
        raise TerraError(
            f"{name}: the server redirects to somewhere else than an http:// or https:// URL, or from https:// to http://"
        ) from None
    except requests.TooManyRedirects:
        raise TerraError(f"{name}: the server redirects more than {_REDIRECTS} times") from None
    except (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError):
        raise TerraError(f"{name}: the server took longer than {seconds:g} seconds") from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise TerraError(f"{name}: cannot be fetched: {_innermost(error)}") from error


def _innermost(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or next((part for part in error.args if isinstance(part, Exception)), None)
    if isinstance(reason, BaseException):
        return _innermost(reason)
    return str(error)


def _without_user(url: str) -> str:
    return re.sub(r"^([A-Za-z]+://)[^/?#]*@", r"\1", url)
