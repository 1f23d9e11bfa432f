"""Whether a version on trial is healthy, by what was seen of it and what is expected; see docs/decisions/0091."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any

from attrs import frozen

from terra_core.versions.record import PLACE

EXPECTED = f"{PLACE}/expected.json"
"""What a version is expected to have when it runs on trial; a file of its root."""
UNIT = "usr/lib/systemd/system/terra-trial.service"
"""The unit that decides on a version on trial; a file of its root."""
_SHOWN = 8
_NO_WAY = frozenset({"blackhole", "prohibit", "throw", "unreachable"})
UP = "running"
"""The state of a system whose start has come to its end, and well."""
_ENDS = {
    "degraded": "its system is degraded",
    "maintenance": "its system has stopped in its start and asks for a person",
}


class Network(Enum):
    """How far a machine reaches, the least first."""

    NONE = "none"
    ADDRESS = "address"
    ROUTE = "route"

    def reaches(self, wanted: Network) -> bool:
        """Return whether this is as far as ``wanted``, or further."""
        order = list(Network)
        return order.index(self) >= order.index(wanted)


_LACKS = {
    Network.ROUTE: "it has no default route, and the version before it had one",
    Network.ADDRESS: "it has no address on any network, and the version before it had one",
}


@frozen(kw_only=True)
class Seen:
    """What was seen of a running system.

    :param state: the state of its system manager (systemctl(1), ``is-system-running``).
    :param failed: the units that have failed.
    :param jobs: the units that its start still waits for.
    :param network: how far it reaches.
    """

    state: str
    failed: tuple[str, ...] = ()
    jobs: tuple[str, ...] = ()
    network: Network = Network.NONE


@frozen(kw_only=True)
class Finding:
    """Why a system is not healthy.

    :param reason: in words.
    :param final: whether waiting helps no more.
    """

    reason: str
    final: bool = False


def fault_of(seen: Seen, wanted: Network) -> Finding | None:
    """Return why a system does not count as healthy; ``None`` when it does.

    :param wanted: how far it has to reach.
    """
    if seen.state in _ENDS:
        failed = f": these units failed: {_listed(seen.failed)}" if seen.failed else ""
        return Finding(reason=f"{_ENDS[seen.state]}{failed}", final=True)
    if seen.state != UP:
        waits = f", and waits for {_listed(seen.jobs)}" if seen.jobs else ""
        return Finding(reason=f"its system is {seen.state or 'silent'}{waits}")
    if not seen.network.reaches(wanted):
        return Finding(reason=_LACKS[wanted])
    return None


def network_of(routes: Iterable[object], addresses: Iterable[object]) -> Network:
    """Return how far a machine reaches.

    :param routes: its default routes, as ``ip -json route show default`` has them, of IPv4 and IPv6.
    :param addresses: its interfaces, as ``ip -json address show scope global`` has them.
    """
    if any(_leads_on(route) for route in routes):
        return Network.ROUTE
    if any(isinstance(one, Mapping) and _has_address(one) for one in addresses):
        return Network.ADDRESS
    return Network.NONE


def _leads_on(route: object) -> bool:
    if not isinstance(route, Mapping):
        return False
    flags = route.get("flags")
    dead = isinstance(flags, list) and bool({"dead", "linkdown"} & {str(flag) for flag in flags})
    return route.get("dst") == "default" and route.get("type") not in _NO_WAY and not dead


def _has_address(interface: Mapping[str, Any]) -> bool:
    found = interface.get("addr_info")
    return isinstance(found, list) and any(isinstance(one, Mapping) and one.get("scope") == "global" for one in found)


def read_json_list(text: str) -> list[object]:
    """Return the list that a program printed as JSON; an empty one for anything else."""
    try:
        found = json.loads(text or "[]")
    except (ValueError, RecursionError):
        return []
    return found if isinstance(found, list) else []


def first_words(lines: Iterable[str], column: int = 0) -> tuple[str, ...]:
    """Return one column of a table that systemctl(1) printed.

    :param column: which one, from 0 on.
    """
    return tuple(words[column] for line in lines if len(words := line.split()) > column)


def expectation(network: Network) -> bytes:
    """Return the file that says of a new version what it is expected to have."""
    return json.dumps({"network": network.value}).encode()


def expected(content: bytes | None) -> Network:
    """Read that file; a default route is expected where nobody has written it, or wrote anything else.

    :param content: what is in it; ``None`` when there is none.
    """
    try:
        return Network(json.loads(content or b"")["network"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return Network.ROUTE


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
