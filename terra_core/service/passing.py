"""Requests that one host of a daemon passes on to another one, as far as every application has to know of that."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Protocol

from litestar.types import Receive, Scope, Send

from terra_core.service.access import Caller

MARK = b"terra-passed-on"
"""The header of a request that a host has passed on; such a request is never passed on again."""
VIA = "terra.via"
"""The key of a request's scope for the name of the host that passed it on, once that host is known for sure."""


class Leader(Enum):
    """What the host that leads has to do with a route."""

    NOTHING = "nothing"
    """Any host answers."""
    BETTER = "better"
    """It knows more; another host answers where it cannot be asked."""
    NEEDED = "needed"
    """No other host can answer."""


class Passing(Protocol):
    """Passes requests on, and takes those that were."""

    async def admit(self, scope: Scope, token: bytes) -> Caller | None:
        """Return who sent a request that bears the mark of a host, to that one; ``None`` where nobody has its token.

        The scope has the address from which the request came to that host, from then on.

        :raises UnavailableError: when the mark is that of no host that is known here.
        :raises TokenRefused: for a token that is not valid any more.
        """

    async def pass_on(self, scope: Scope, receive: Receive, send: Send, *, needed: bool) -> Receive | None:
        """Let another host answer, unless this one has to.

        :param needed: whether nobody but the host that leads can answer.
        :returns: by what this host goes on to receive the request; ``None`` when another one has answered.
        :raises UnavailableError: when it is needed, and cannot be asked.
        """


def is_marked(scope: Mapping[str, Any]) -> bool:
    """Return whether a request says that a host has passed it on, be it true or not."""
    return any(name == MARK for name, _ in scope["headers"])


def leader_of(method: str, options: Mapping[str, Any], unsafe: frozenset[str]) -> Leader:
    """Return what the host that leads has to do with a route.

    :param options: what :func:`terra_core.service.description.described` returned for it.
    :param unsafe: the methods that change something.
    """
    if method in unsafe and not (options.get("asks") or options.get("anywhere")):
        return Leader.NEEDED
    found = options.get("leader", Leader.NOTHING)
    return found if isinstance(found, Leader) and method != "OPTIONS" else Leader.NOTHING
