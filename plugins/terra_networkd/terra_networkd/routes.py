"""Addresses, routes, rules that choose among tables of routes, and neighbours: sections that a file may have many times."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Literal

from attrs import frozen

from terra_core.config import values
from terra_core.config.addresses import no_address, no_network
from terra_core.config.structure import Problem, has
from terra_core.config.values import shown
from terra_networkd.checks import FROM_DHCP, no_address_of_one, no_gateway, no_label, no_name, no_peer, no_prefix, numbers
from terra_networkd.sections import Section, key, needed

_NUMBERS = numbers(0, 2**32 - 1)
TABLES = numbers(1, 2**32 - 1)
RouteType = Literal["unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit", "throw"]


@frozen(kw_only=True)
class Address(Section):
    """``[[networkd.networks.address]]``, an [Address] section."""

    address: str = needed(no_address)
    peer: str | None = key(no_peer)
    label: str | None = key(no_label)
    preferred_lifetime: Literal["forever", "infinity", "0"] | None = key()
    scope: Literal["global", "link", "host"] | None = key()
    route_metric: int | None = key(_NUMBERS)
    add_prefix_route: bool | None = key()
    duplicate_address_detection: Literal["ipv4", "ipv6", "both", "none"] | None = key()

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong with the values, and between them."""
        yield from super().problems()
        if not has(self, "address") or no_address(self.address):
            return
        six = ":" in self.address
        if getattr(self, "label", None) is not None and six:
            yield Problem("label", "an IPv6 address has no label")
        if getattr(self, "peer", None) is not None and (":" in str(self.peer)) != six:
            yield Problem("peer", f"expected an address of the family of {shown(self.address)}")


@frozen(kw_only=True)
class Route(Section):
    """``[[networkd.networks.route]]``, a [Route] section; without a destination it is a default route."""

    destination: str | None = key()
    gateway: str | None = key(no_gateway)
    gateway_on_link: bool | None = key()
    source: str | None = key(no_prefix)
    preferred_source: values.Address | None = key(no_address_of_one)
    metric: int | None = key(_NUMBERS)
    table: int | None = key(TABLES)
    scope: Literal["global", "site", "link", "host", "nowhere"] | None = key()
    type: RouteType | None = key()
    mtu_bytes: int | None = key(numbers(68, 65535))
    ipv6_preference: Literal["low", "medium", "high"] | None = key()
    initial_congestion_window: int | None = key(numbers(1, 1023))
    quick_ack: bool | None = key()

    @property
    def is_default(self) -> bool:
        """Whether it leads everywhere."""
        return getattr(self, "destination", "") in (None, "0.0.0.0/0", "::/0")

    @property
    def family(self) -> int:
        """Return 4 or 6; the family of a gateway, or else of where it leads."""
        gateway, destination = getattr(self, "gateway", None), getattr(self, "destination", None)
        return 6 if ":" in str(gateway or destination) or gateway == "_ipv6ra" else 4

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong with the values, and between them."""
        yield from super().problems()
        destination, gateway = getattr(self, "destination", None), getattr(self, "gateway", None)
        if destination is not None and (wrong := no_network(destination)):
            yield Problem("destination", f'expected a network with its prefix length, such as "10.0.0.0/8", got {wrong}')
            return
        if has(self, "destination", "gateway", "type") and destination is gateway is None:
            yield Problem("destination", "a route has a destination, a gateway or both")
        if gateway is not None and getattr(self, "type", None) not in (None, "unicast"):
            yield Problem("gateway", f"a route of type {self.type} has no gateway")
        if gateway is None and getattr(self, "gateway_on_link", None):
            yield Problem("gateway_on_link", "means nothing without gateway")
        if destination and gateway and gateway not in FROM_DHCP and not no_address_of_one(gateway):
            own, its = ipaddress.ip_address(gateway).version, ipaddress.ip_network(destination).version
            if own != its:
                yield Problem("gateway", f"{shown(gateway)} is an IPv{own} address, and leads to no network of IPv{its}")


@frozen(kw_only=True)
class RoutingPolicyRule(Section):
    """``[[networkd.networks.routing_policy_rule]]``, a [RoutingPolicyRule] section (ip-rule(8))."""

    from_: str | None = key(no_prefix)
    to: str | None = key(no_prefix)
    table: int | None = key(TABLES)
    priority: int | None = key(_NUMBERS)
    firewall_mark: int | None = key(numbers(1, 2**32 - 1))
    type_of_service: int | None = key(numbers(0, 255))
    incoming_interface: str | None = key(no_name)
    outgoing_interface: str | None = key(no_name)
    invert_rule: bool | None = key()
    family: Literal["ipv4", "ipv6", "both"] | None = key()
    type: Literal["blackhole", "unreachable", "prohibit"] | None = key()

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong with the values, and between them."""
        yield from super().problems()
        ends = [raw for name in ("from_", "to") if (raw := getattr(self, name, None)) is not None]
        if len({":" in raw for raw in ends}) > 1:
            yield Problem("to", "from and to have to be of one family, IPv4 or IPv6")
        if ends and getattr(self, "family", None) is not None:
            yield Problem("family", "from and to decide it")


@frozen(kw_only=True)
class Neighbor(Section):
    """``[[networkd.networks.neighbor]]``, a [Neighbor] section."""

    address: values.Address = needed(no_address_of_one)
    link_layer_address: values.Mac = needed()
