"""``[[networkd.networks]]``: the addresses and routes of interfaces (systemd.network(5))."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Literal

from attrs import frozen

from terra_core.config.addresses import is_reached, no_address, no_router
from terra_core.config.structure import Problem, has
from terra_core.config.values import Mac, shown
from terra_networkd.checks import (
    FROM_DHCP,
    no_address_of_one,
    no_dns_server,
    no_domain,
    no_gateway,
    no_host,
    no_name,
    numbers,
)
from terra_networkd.files import File
from terra_networkd.learnt import DhcpV4, DhcpV6, RouterAdvertisements
from terra_networkd.matching import NetworkMatch
from terra_networkd.ports import BridgePort, BridgeVlan
from terra_networkd.routes import Address, Neighbor, Route, RoutingPolicyRule
from terra_networkd.sections import Section, items, key

OperationalState = Literal[
    True, False, "missing", "off", "no-carrier", "dormant", "degraded-carrier", "carrier", "degraded", "enslaved", "routable"
]
STACKS = ("vlan", "macvlan", "ipvlan", "vxlan")
"""The keys that name devices which are made upon the interface; each is named as the kind of these is."""
MASTERS = ("bond", "bridge", "vrf")
"""The keys that name the device which the interface is a part of."""
_MTU_OF_IPV6 = 1280
"""RFC 8200 section 5: no link that carries IPv6 may have less."""


@frozen(kw_only=True)
class LinkSection(Section):
    """``link`` of a .network file, its [Link] section."""

    mac_address: Mac | None = key()
    mtu_bytes: int | None = key(numbers(68, 65535))
    arp: bool | None = key()
    multicast: bool | None = key()
    all_multicast: bool | None = key()
    promiscuous: bool | None = key()
    unmanaged: bool | None = key()
    required_for_online: OperationalState | None = key()
    required_family_for_online: Literal["ipv4", "ipv6", "both", "any"] | None = key()
    activation_policy: Literal["up", "always-up", "manual", "always-down", "down", "bound"] | None = key()


@frozen(kw_only=True)
class NetworkSection(Section):
    """``network``, the [Network] section.

    :param keep_configuration: what becomes of addresses when networkd ends or a lease does; when left out, Terra has an
        interface with addresses of its own keep them, because a machine's disk may lie behind it.
    :param dns: name servers; only systemd-resolved asks one with a port or a name after it.
    :param domains: domains that short names are looked for in; systemd-resolved alone knows those with ``~``.
    """

    dhcp: Literal[True, False, "ipv4", "ipv6"] | None = key()
    link_local_addressing: Literal[True, False, "ipv4", "ipv6"] | None = key()
    ipv6_accept_ra: bool | None = key()
    ipv6_privacy_extensions: Literal[True, False, "prefer-public", "kernel"] | None = key()
    keep_configuration: Literal[True, False, "static", "dhcp-on-stop", "dhcp"] | None = key()
    address: tuple[str, ...] = items(no_address)
    gateway: tuple[str, ...] = items(no_gateway)
    default_route_on_device: bool | None = key()
    dns: tuple[str, ...] = items(no_dns_server)
    domains: tuple[str, ...] = items(no_domain)
    dns_default_route: bool | None = key()
    dns_over_tls: Literal[True, False, "opportunistic"] | None = key()
    dnssec: Literal[True, False, "allow-downgrade"] | None = key()
    llmnr: Literal[True, False, "resolve"] | None = key()
    multicast_dns: Literal[True, False, "resolve"] | None = key()
    ntp: tuple[str, ...] = items(no_host)
    lldp: Literal[True, False, "routers-only"] | None = key()
    emit_lldp: Literal[True, False, "nearest-bridge", "non-tpmr-bridge", "customer-bridge"] | None = key()
    bind_carrier: tuple[str, ...] = items(no_name)
    bond: str | None = key(no_name)
    bridge: str | None = key(no_name)
    vrf: str | None = key(no_name)
    vlan: tuple[str, ...] = items(no_name)
    macvlan: tuple[str, ...] = items(no_name)
    ipvlan: tuple[str, ...] = items(no_name)
    vxlan: tuple[str, ...] = items(no_name)
    primary_slave: bool | None = key()
    active_slave: bool | None = key()
    configure_without_carrier: bool | None = key()
    ignore_carrier_loss: bool | None = key()

    @property
    def asks_for_ipv4(self) -> bool:
        """Whether it asks for an IPv4 address by DHCP."""
        return getattr(self, "dhcp", None) in (True, "ipv4")

    @property
    def asks_for_ipv6(self) -> bool:
        """Whether it may get an IPv6 address by DHCP or from a router."""
        return getattr(self, "dhcp", None) in (True, "ipv6") or bool(getattr(self, "ipv6_accept_ra", None))

    @property
    def is_port(self) -> bool:
        """Whether it is a part of a bond or a bridge, which has the addresses in its place."""
        return getattr(self, "bond", None) is not None or getattr(self, "bridge", None) is not None

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong with the values, and between them."""
        yield from super().problems()
        masters = [name for name in MASTERS if getattr(self, name, None) is not None]
        if ("bond" in masters and len(masters) > 1) or {"bridge", "vrf"} <= set(masters):
            yield Problem(masters[-1], f"an interface is a part of one device only, and {masters[0]} is given")
        if self.is_port:
            whole = "bond" if "bond" in masters else "bridge"
            for name in ("dhcp", "address", "gateway", "ipv6_accept_ra"):
                if getattr(self, name, None) not in (None, (), False):
                    yield Problem(name, f"the interface is a part of {shown(getattr(self, whole))}, which has this instead")
        for name in ("primary_slave", "active_slave"):
            if getattr(self, name, None) is not None and getattr(self, "bond", "") is None:
                yield Problem(name, "means nothing without bond")


@frozen(kw_only=True)
class Network(File):
    """``[[networkd.networks]]``: a .network file.

    :param match: the interfaces that it is for.
    :param link: what they are set to.
    :param network: how they get addresses, and what they are a part of.
    :param address: addresses of which more than the address is said.
    :param route: routes.
    :param routing_policy_rule: rules that choose among tables of routes.
    :param neighbor: neighbours of which the hardware address is known.
    :param dhcpv4: what is asked and taken by DHCP for IPv4.
    :param dhcpv6: what is asked and taken by DHCP for IPv6.
    :param ipv6_accept_ra: what is taken of router advertisements.
    :param bridge: how the interface is a port of a bridge.
    :param bridge_vlan: the VLANs that a port of a bridge is in.
    """

    match: NetworkMatch
    link: LinkSection = LinkSection()
    network: NetworkSection = NetworkSection()
    address: tuple[Address, ...] = ()
    route: tuple[Route, ...] = ()
    routing_policy_rule: tuple[RoutingPolicyRule, ...] = ()
    neighbor: tuple[Neighbor, ...] = ()
    dhcpv4: DhcpV4 = DhcpV4()
    dhcpv6: DhcpV6 = DhcpV6()
    ipv6_accept_ra: RouterAdvertisements = RouterAdvertisements()
    bridge: BridgePort = BridgePort()
    bridge_vlan: tuple[BridgeVlan, ...] = ()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Every address that it gives, with its prefix length."""
        own = (*getattr(self.network, "address", ()), *(one.address for one in self.address if has(one, "address")))
        return tuple(raw for raw in own if isinstance(raw, str) and not no_address(raw))

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong with the values, and between them."""
        yield from super().problems()
        if not has(self, "link", "network", "address"):
            return
        yield from self._problems_of_port()
        yield from self._problems_of_gateways()
        mtu = getattr(self.link, "mtu_bytes", None)
        if mtu is not None and mtu < _MTU_OF_IPV6 and (self.network.asks_for_ipv6 or any(":" in raw for raw in self.addresses)):
            yield Problem("link.mtu_bytes", f"IPv6 needs at least {_MTU_OF_IPV6} bytes, got {mtu}")
        if not self.network.asks_for_ipv4 and has(self, "dhcpv4") and not self.dhcpv4.is_empty:
            yield Problem("dhcpv4", 'means nothing unless network.dhcp is true or "ipv4"')

    def _problems_of_port(self) -> Iterator[Problem]:
        if self.network.is_port and self.address:
            yield Problem("address", "the interface is a part of a bond or a bridge, which has this in its place")
        in_a_bridge = getattr(self.network, "bridge", "") is not None
        if not in_a_bridge and has(self, "bridge") and not self.bridge.is_empty:
            yield Problem("bridge", "means nothing without network.bridge")

    def _problems_of_gateways(self) -> Iterator[Problem]:
        for at, gateway in enumerate(getattr(self.network, "gateway", ())):
            yield from self._problems_of_gateway(f"network.gateway[{at}]", gateway, on_link=False)
        for at, route in enumerate(getattr(self, "route", ())):
            if getattr(route, "gateway", None) is not None:
                on_link = bool(getattr(route, "gateway_on_link", None))
                yield from self._problems_of_gateway(f"route[{at}].gateway", route.gateway, on_link=on_link)

    def _problems_of_gateway(self, path: str, gateway: str, *, on_link: bool) -> Iterator[Problem]:
        if gateway in FROM_DHCP or no_address_of_one(gateway):
            return
        six = ipaddress.ip_address(gateway).version == 6
        learnt = self.network.asks_for_ipv6 if six else self.network.asks_for_ipv4
        if text := no_router(gateway, self.addresses):
            yield Problem(path, text)
        elif not (on_link or learnt or is_reached(gateway, self.addresses)) and not self._has_a_way(gateway):
            networks = ", ".join(str(ipaddress.ip_interface(raw).network) for raw in self.addresses) or "there is none"
            text = f"{shown(gateway)} is in no network of this interface's addresses ({networks})"
            yield Problem(path, f"{text}; a [[networkd.networks.route]] takes it all the same with gateway_on_link = true")

    def _has_a_way(self, gateway: str) -> bool:
        """Return whether a link-local address, the other end of an address, or a route on the link leads to a gateway."""
        address = ipaddress.ip_address(gateway)
        if address.version == 6 and address.is_link_local:
            return True
        peers = [getattr(one, "peer", None) for one in self.address]
        routes = [one.destination for one in getattr(self, "route", ()) if getattr(one, "gateway", "") is None]
        ways = [way for way in (*peers, *routes) if way is not None]
        return any(address in ipaddress.ip_interface(way).network for way in ways)
