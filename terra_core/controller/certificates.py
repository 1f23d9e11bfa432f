"""Where the certificate is by which the API is served, and what it may be for; see :mod:`terra_core.controller.authority`.

Apart from what makes certificates, which is slow to import, and which a controller without TLS never needs.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from terra_core.config.controller import Paths, Tls
from terra_core.config.values import parse_domain

AUTHORITY_KEY, SERVER = "ca.key", "server.pem"
Name = str | IPv4Address | IPv6Address


def certificate_of(paths: Paths) -> Tls | None:
    """Return the certificate that :func:`certify` makes; ``None`` where it was never called.

    The authority's key alone counts as well: a run that was ended half-way is finished, and not taken for plain HTTP.
    """
    server = paths.tls / SERVER
    begun = server.exists() or (paths.tls / AUTHORITY_KEY).exists()
    return Tls(certificate=str(server), key=str(server)) if begun else None


def parse_name(raw: object) -> Name:
    """Return a name that a certificate may be for: a host name, or an address.

    :raises ValueError: when it is neither.
    """
    text = str(raw)
    try:
        address = ip_address(text.strip("[]"))
    except ValueError:
        try:
            return str(parse_domain(text.removesuffix(".")))
        except ValueError:
            raise ValueError(f"expected a host name or an address, got {text[:80]!r}") from None
    if address.is_unspecified or getattr(address, "scope_id", None):
        raise ValueError(f"expected an address that clients connect to, got {text[:80]!r}")
    return address


def names_of_host() -> Sequence[Name]:
    """Return the names by which this machine knows itself."""
    found: list[Name] = ["localhost", ip_address("127.0.0.1"), ip_address("::1")]
    for name in (socket.gethostname(), socket.getfqdn()):
        try:
            parsed = parse_name(name)
        except ValueError:  # a name that no certificate may have
            continue
        if parsed not in found:
            found.insert(0, parsed)
    return found
