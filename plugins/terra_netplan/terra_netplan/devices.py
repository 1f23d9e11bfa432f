"""What all network devices have in common."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Literal

from attrs import frozen

from terra_core.config.addresses import is_reached, no_address, no_router, not_of_one, problems_of_name
from terra_core.config.structure import Problem, has
from terra_core.config.values import Address, Domain, Mac, shown
from terra_netplan.routes import Overrides, Route, Rule

_MTU = range(68, 65536)
_MTU_OF_IPV6 = 1280
"""RFC 8200 section 5: no link that carries IPv6 may have less."""


@frozen(kw_only=True)
class Device:
    """What all network devices have in common.

    :param name: its name in the machine, such as ``eth0``.
    :param dhcp4: whether it asks for an IPv4 address; when left out, it does if ``addresses`` is empty and it is no part of a
        bond or a bridge.
    :param dhcp6: whether it asks for an IPv6 address.
    :param dhcp4_overrides: what is taken of what DHCP says for IPv4.
    :param dhcp6_overrides: what is taken of what DHCP says for IPv6.
    :param accept_ra: whether it takes IPv6 addresses and routes from router advertisements; networkd decides when left out.
    :param link_local: the families in which it gives itself an address of its link; networkd does so in IPv6 when left out.
    :param macaddress: the hardware address that it is given in place of its own.
    :param addresses: its own addresses, each with its prefix length, such as ``10.0.10.20/24``.
    :param gateway: the default route; it lies in the network of one of ``addresses``.
    :param routes: further routes.
    :param routing_policy: rules that choose among tables of routes.
    :param nameservers: the name servers to be asked through this device.
    :param search: the domains that names without a dot are looked for in.
    :param mtu: the largest packet, in bytes.
    :param optional: whether the machine starts up without waiting for it.
    """

    name: str
    dhcp4: bool | None = None
    dhcp6: bool = False
    dhcp4_overrides: Overrides | None = None
    dhcp6_overrides: Overrides | None = None
    accept_ra: bool | None = None
    link_local: tuple[Literal["ipv4", "ipv6"], ...] | None = None
    macaddress: Mac | None = None
    addresses: tuple[str, ...] = ()
    gateway: Address | None = None
    routes: tuple[Route, ...] = ()
    routing_policy: tuple[Rule, ...] = ()
    nameservers: tuple[Address, ...] = ()
    search: tuple[Domain, ...] = ()
    mtu: int | None = None
    optional: bool = False

    @property
    def asks_for_ipv4(self) -> bool:
        """Whether it asks for an IPv4 address, as far as the device alone decides."""
        return not self.addresses if self.dhcp4 is None else self.dhcp4

    @property
    def below(self) -> tuple[str, ...]:
        """The devices that this one is made of."""
        return ()

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values, and between them."""
        if has(self, "name"):
            yield from problems_of_name("name", self.name)
        if has(self, "addresses"):
            wrong = [Problem(f"addresses[{at}]", text) for at, raw in enumerate(self.addresses) if (text := no_address(raw))]
            yield from wrong
            yield from () if wrong else self._problems_of_ways()
        for at, server in enumerate(getattr(self, "nameservers", ())):
            if isinstance(server, str) and (text := not_of_one(server)):
                yield Problem(f"nameservers[{at}]", text)
        if has(self, "mtu") and self.mtu is not None:
            yield from self._problems_of_mtu(self.mtu)
        yield from self._problems_of_overrides()

    def _problems_of_overrides(self) -> Iterator[Problem]:
        """networkd has one setting for both families, so that netplan refuses two that differ where both ask."""
        if not has(self, "addresses", "dhcp4", "dhcp6", "dhcp4_overrides", "dhcp6_overrides"):
            return
        if self.asks_for_ipv4 and self.dhcp6:
            first, second = (made or Overrides() for made in (self.dhcp4_overrides, self.dhcp6_overrides))
            for key in first.differing(second):
                yield Problem(f"dhcp6_overrides.{key}", f"has to say what dhcp4_overrides.{key} says, as both families ask")

    def _problems_of_ways(self) -> Iterator[Problem]:
        networks = [ipaddress.ip_interface(raw).network for raw in self.addresses]
        shown_networks = ", ".join(map(str, networks)) or "there is none"
        if has(self, "gateway") and self.gateway is not None and not is_reached(self.gateway, self.addresses):
            yield Problem("gateway", f"{shown(self.gateway)} is in no network of this interface's addresses ({shown_networks})")
        if has(self, "gateway") and self.gateway is not None and (text := no_router(self.gateway, self.addresses)):
            yield Problem("gateway", text)
        for at, route in enumerate(self.routes):
            if not has(route, "to", "via", "on_link") or route.via is None or not_of_one(route.via) or route.on_link:
                continue
            if text := no_router(route.via, self.addresses):
                yield Problem(f"routes[{at}].via", text)
            elif not self._may_reach(route.via):
                text = f"{shown(route.via)} is in no network of this interface's addresses ({shown_networks})"
                yield Problem(f"routes[{at}].via", f"{text}; with on_link = true it is taken to be reached all the same")

    def _may_reach(self, gateway: Address) -> bool:
        asks = self.asks_for_ipv4 if ":" not in gateway else self.dhcp6 or bool(self.accept_ra)
        return asks or is_reached(gateway, self.addresses)

    def _problems_of_mtu(self, mtu: int) -> Iterator[Problem]:
        if mtu not in _MTU:
            yield Problem("mtu", f"expected from {_MTU.start} to {_MTU.stop - 1} bytes, got {mtu}")
        elif mtu < _MTU_OF_IPV6 and (self.dhcp6 or self.accept_ra or any(":" in raw for raw in self.addresses)):
            yield Problem("mtu", f"IPv6 needs at least {_MTU_OF_IPV6} bytes, got {mtu}")
