"""Where a daemon is: what users write for it, as the URL that requests are sent to (RFC 3986)."""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from urllib.parse import urlsplit

from terra_core.errors import TerraError

_SHAPE = "an address, ADDRESS:PORT, or an http:// or https:// URL"
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}")
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)*")


def url_of(address: str, port: int, *, scheme: str = "http") -> str:
    """Return the URL of a daemon, without a ``/`` at its end.

    :param address: an address, ``ADDRESS:PORT``, or an ``http://`` or ``https://`` URL.
    :param port: the port where ``address`` names none.
    :param scheme: how it is spoken to where ``address`` does not say so.
    :raises TerraError: when it is none of these; with a user or a password, which are not shown.
    """
    given, separator, rest = address.partition("://")
    if not separator:
        given, rest = scheme, address
    if "@" in rest:
        raise TerraError(
            "the address holds a user name or a password, which is never sent",
            hint="leave it out: what a daemon asks for is its token, in TERRA_TOKEN",
        )
    if given.lower() not in ("http", "https"):
        raise _wrong(address, "is no http:// or https:// URL")
    rest = rest.rstrip("/")
    if rest.count(":") > 1 and not rest.startswith("["):
        rest = f"[{rest}]"
    url = f"{given.lower()}://{rest}"
    try:
        parts = urlsplit(url)
        host, named = parts.hostname, parts.port
    except ValueError as error:
        raise _wrong(address, f"is no address: {error}") from None
    if parts.query or parts.fragment or not _PATH.fullmatch(parts.path) or not _is_host(host, parts.netloc) or named == 0:
        raise _wrong(address, "is no address of a daemon")
    if parts.netloc.endswith(":"):
        raise _wrong(address, "has no port after its colon")
    return url if named is not None or parts.path else f"{url}:{port}"


def _is_host(host: str | None, netloc: str) -> bool:
    if host is None:
        return False
    if netloc.startswith("[") and netloc.count("]") == 1:
        try:
            return isinstance(ip_address(host), IPv6Address)
        except ValueError:
            return False
    return bool(_HOST.fullmatch(host))


def _wrong(address: str, said: str) -> TerraError:
    return TerraError(f"{address[:200]}: {said}", hint=f"expected {_SHAPE}")
