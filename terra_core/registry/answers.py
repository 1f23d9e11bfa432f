"""Reading a registry's answers within limits of time and size, with errors in words."""

from __future__ import annotations

import zlib
from urllib.parse import urlsplit

import requests
import urllib3

from terra_core.oci import ImageError
from terra_core.registry.transport import Place, TooSlow, failure
from terra_core.system.http import read_body

_GZIP = b"\x1f\x8b"


def short_body(response: requests.Response, most: int, seconds: float, name: str) -> bytes:
    """Read the whole body, which must be short and come soon.

    :param most: bytes.
    :param seconds: for all of it.
    :param name: of the registry.
    :raises Unreachable: when it breaks off; :class:`TooSlow` when it takes too long.
    :raises ImageError: when it is longer.
    """
    with translated(response):
        try:
            content = read_body(response, most, seconds)
        except TimeoutError:
            raise TooSlow(f"{name} took longer than {seconds:g} seconds over a short document") from None
    if response.headers.get("Content-Encoding", "").lower() not in ("gzip", "x-gzip"):
        check_encoding(response, name)
    elif content.startswith(_GZIP):  # some proxies compress unasked, and some only claim to
        content = _inflated(content, most, name)
    if len(content) > most:
        raise ImageError(f"{name} sent a document of more than {most} bytes")
    return content


def check_encoding(response: requests.Response, name: str) -> None:
    """Refuse a body that was compressed on the way: nobody asked for that, and its length and digest would be others."""
    if response.headers.get("Content-Encoding", "identity").lower() not in ("identity", ""):
        raise ImageError(f"{name} compressed what it sent, which nobody had asked it to")


class translated:  # noqa: N801  # used as a function
    """Turns what goes wrong while a body is read into :class:`Unreachable`, and closes the answer then."""

    def __init__(self, response: requests.Response) -> None:
        self._response = response

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, urllib3.exceptions.HTTPError | OSError | ValueError | AttributeError):
            self._response.close()
            parts = urlsplit(self._response.url)
            raise failure(Place(parts.scheme, parts.netloc), error) from error


def _inflated(content: bytes, most: int, name: str) -> bytes:
    inflating = zlib.decompressobj(wbits=31)
    try:
        plain = inflating.decompress(content, most + 1)
    except zlib.error:
        plain = b""
    if not inflating.eof and len(plain) <= most:
        raise ImageError(f"{name} compressed a document, and broke it")
    return plain
