"""Routes, rules that choose among tables of routes, and what is taken of what DHCP says."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Literal

from attrs import frozen

from terra_core.config.addresses import no_network, not_of_one
from terra_core.config.structure import Problem, has, out_of_range
from terra_core.config.values import Address, Hostname, shown

NUMBERS = range(2**31)
"""netplan writes larger numbers as negative ones, which systemd-networkd does not take, and takes the largest one as none."""
TABLES = range(1, 2**31)
"""rt_tables: 0 is none, 253 to 255 are default, main and local."""
MAIN = 254
"""The table that a route stands in that names none."""
_MARKS = range(1, 2**31)
"""netplan takes 0 as no mark."""
_BYTE = range(256)
_MTU = range(68, 65536)
_DEFAULTS = {"default": None, "0.0.0.0/0": 4, "::/0": 6}
_RANGES = {"metric": NUMBERS, "table": TABLES, "mtu": _MTU, "priority": NUMBERS, "mark": _MARKS, "type_of_service": _BYTE}


@frozen(kw_only=True)
class Route:
    """``[[netplan.*.routes]]``: a way to other networks.

    :param to: ``default``, or a network such as ``10.0.0.0/8``.
    :param via: the gateway; only a route of another type, or one that stays on the link or in the machine, has none.
    :param from_: the address that packets have that the machine sends this way.
    :param metric: which route is taken where several lead there: the one with the smallest.
    :param on_link: whether the gateway is reached through the interface though no address of it has the gateway's network.
    :param table: the table of routes that it stands in, the main one when left out.
    :param type: what becomes of packets.
    :param scope: how far it reaches.
    :param mtu: the largest packet that is sent this way, in bytes.
    """

    to: str
    via: Address | None = None
    from_: Address | None = None
    metric: int | None = None
    on_link: bool = False
    table: int | None = None
    type: Literal["unicast", "local", "blackhole", "prohibit", "throw", "unreachable"] | None = None
    scope: Literal["global", "link", "host"] | None = None
    mtu: int | None = None

    @property
    def family(self) -> int:
        """4 or 6, that of its gateway or its source, or else of where it leads."""
        if told := self.via or self.from_:
            return ipaddress.ip_address(told).version
        return ipaddress.ip_network(self.to).version if self.to != "default" else 4

    @property
    def is_default(self) -> bool:
        """Whether it leads everywhere."""
        return self.to in _DEFAULTS

    @property
    def _needs_gateway(self) -> bool:
        return self.type in (None, "unicast") and self.scope in (None, "global")

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values, and between them."""
        yield from out_of_range(self, _RANGES)
        if has(self, "via", "type", "scope") and self.via is None and self._needs_gateway:
            yield Problem("via", "is required and missing")
        for key in ("via", "from_"):
            if (address := getattr(self, key, None)) and (wrong := not_of_one(address)):
                yield Problem(key.removesuffix("_"), wrong)
        yield from self._problems_of_family()

    def _problems_of_family(self) -> Iterator[Problem]:
        if not has(self, "to"):
            return
        if self.to != "default" and (wrong := no_network(self.to)):
            yield Problem("to", f'expected "default" or a network with its prefix length, such as "10.0.0.0/8", got {wrong}')
            return
        family = _DEFAULTS[self.to] if self.to in _DEFAULTS else ipaddress.ip_network(self.to).version
        for key in ("via", "from_"):
            address = getattr(self, key, None)
            own = ipaddress.ip_address(address).version if address else None
            if family and own not in (None, family):
                text = f"{shown(address)} is an IPv{own} address, and leads to no network of IPv{family}"
                yield Problem(key.removesuffix("_"), text)
            family = family or own
        if family is None and has(self, "via", "from_", "type", "scope") and not self._needs_gateway:
            yield Problem("to", 'nothing says of which family "default" is: say "0.0.0.0/0" or "::/0"')


@frozen(kw_only=True)
class Rule:
    """``[[netplan.*.routing_policy]]``: which packets go by another table of routes (ip-rule(8)).

    :param from_: the network that they come from.
    :param to: the network that they go to.
    :param table: the table that they go by.
    :param priority: rules are asked from the smallest on.
    :param mark: the firewall's mark that they have.
    :param type_of_service: the field of that name that they have.
    """

    from_: str | None = None
    to: str | None = None
    table: int | None = None
    priority: int | None = None
    mark: int | None = None
    type_of_service: int | None = None

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values, and between them."""
        yield from out_of_range(self, _RANGES)
        given = {key.removesuffix("_"): raw for key in ("from_", "to") if (raw := getattr(self, key, None)) is not None}
        wrong = {key: no_rule for key, raw in given.items() if (no_rule := _no_range(raw))}
        yield from (Problem(key, text) for key, text in wrong.items())
        if not given and has(self, "from_", "to"):
            yield Problem("", "expected from, to, or both")
        families = {ipaddress.ip_interface(raw).version for key, raw in given.items() if key not in wrong}
        if len(families) > 1:
            yield Problem("to", "from and to have to be of one family, IPv4 or IPv6")


@frozen(kw_only=True)
class Overrides:
    """``dhcp4_overrides`` and ``dhcp6_overrides``: what is taken of what DHCP says, all of it when left out.

    :param use_dns: whether its name servers are asked.
    :param use_ntp: whether its time servers are asked.
    :param use_hostname: whether the machine takes the name that it is told.
    :param use_mtu: whether its MTU is taken.
    :param use_routes: whether its routes are taken.
    :param use_domains: whether its domains are searched, or with ``route`` only decide which name servers are asked.
    :param send_hostname: whether the machine says its name.
    :param hostname: the name that it says.
    :param route_metric: the metric of its routes.
    """

    use_dns: bool | None = None
    use_ntp: bool | None = None
    use_hostname: bool | None = None
    use_mtu: bool | None = None
    use_routes: bool | None = None
    use_domains: Literal[True, False, "route"] | None = None
    send_hostname: bool | None = None
    hostname: Hostname | None = None
    route_metric: int | None = None

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values."""
        metric = getattr(self, "route_metric", None)
        if metric is not None and metric not in NUMBERS:
            yield Problem("route_metric", f"expected from 0 to {NUMBERS.stop - 1}, got {shown(metric)}")

    def differing(self, other: Overrides) -> Iterator[str]:
        """Yield the keys that differ: networkd has one setting for both families."""
        for key in ("use_dns", "use_ntp", "use_hostname", "use_mtu", "use_routes", "send_hostname"):
            if (getattr(self, key, None) is not False) != (getattr(other, key, None) is not False):
                yield key
        for key in ("use_domains", "hostname", "route_metric"):
            if getattr(self, key, None) != getattr(other, key, None):
                yield key


def _no_range(raw: str) -> str:
    if "/" in raw:
        wrong = no_network(raw)
        return f'expected a network or an address, such as "10.0.0.0/8", got {wrong}' if wrong else ""
    try:
        ipaddress.ip_address(raw if "%" not in raw else "")
    except ValueError:
        return f'expected a network or an address, such as "10.0.0.0/8", got {shown(raw)}'
    return ""
