"""Who asks a daemon, and what they may do: tokens have names and roles, and every route says which role it needs."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from enum import Enum
from hashlib import sha256
from ipaddress import IPv6Address, ip_address
from typing import Any, Protocol

from attrs import frozen

from terra_core.errors import TerraError

LOCAL = "local"
"""The name of the token that a daemon keeps in a file of its own machine."""


class Role(Enum):
    """What a token may do; each role may do what those before it may."""

    READ = "read"
    PROVISION = "provision"
    ADMIN = "admin"

    def covers(self, wanted: Role) -> bool:
        """Return whether this role may do what needs another one."""
        order = list(Role)
        return order.index(self) >= order.index(wanted)


Roles = Mapping[str, Role]
"""The role that each route needs, by method and path, such as ``GET /v1/nodes``; ``admin`` for one that is missing."""


@frozen(kw_only=True)
class Caller:
    """Who sent a request.

    :param name: the name of the token.
    :param role: what it may do.
    """

    name: str
    role: Role


class TokenRefused(TerraError):  # noqa: N818  # a state, as InterruptedWork is one
    """A token that was right once, and is not any more."""


class Gate(Protocol):
    """Recognises tokens."""

    def recognise(self, token: bytes) -> Caller | None:
        """Return who has a token; ``None`` where nobody has. Called for every request, so it waits for nothing.

        :raises TokenRefused: for one that has expired or was revoked; only who has it is told.
        """


class OneToken:
    """The gate of a daemon with one token, which may do everything.

    :param token: the token.
    """

    def __init__(self, token: str) -> None:
        self._digest = digest_of(token.encode())

    def recognise(self, token: bytes) -> Caller | None:
        """Return who has a token."""
        return Caller(name=LOCAL, role=Role.ADMIN) if is_same(digest_of(token), self._digest) else None


def digest_of(token: bytes) -> str:
    """Return the SHA-256 of a token, which is what is stored of it: 256 random bits need no slower hash."""
    return sha256(token).hexdigest()


def is_same(digest: str, other: str) -> bool:
    """Compare two digests in a time that does not tell how much of them is the same."""
    return hmac.compare_digest(digest, other)


def role_for(roles: Roles, method: str, path: str) -> Role:
    """Return the role that a route needs.

    :param path: the route's path with the names of its parameters, such as ``/v1/nodes/{hostname}``.
    """
    return roles.get(f"{method} {path}", Role.ADMIN)


def bearer_of(scope: Mapping[str, Any]) -> tuple[bytes, bool]:
    """Return the token of a request (RFC 6750, section 2.1), and whether it has something that could be one."""
    scheme, _, given = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
    return (given.strip(b" ") if scheme.lower() == b"bearer" else b""), bool(given)  # RFC 9110, section 11.1


def address_of(scope: Mapping[str, Any]) -> str:
    """Return the address that a request came from; that of a proxy where one stands in between.

    Of one that another host has passed on, it is the address that this host says, and its name.
    """
    address, via = _address_of(scope), scope.get("terra.via")
    return f"{address} via {via}" if via else address


def _address_of(scope: Mapping[str, Any]) -> str:
    client = scope.get("client")
    if not client:
        return ""
    try:
        address = ip_address(str(client[0]))
    except ValueError:  # no address, such as in a test
        return str(client[0])[:64]
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
