"""The ``[netplan]`` table of server.toml: its devices; :mod:`terra_netplan.topology` has what must be right between them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from attrs import frozen

from terra_core.config.structure import Problem, has
from terra_core.config.values import Address, Domain, Mac, shown
from terra_netplan.parameters import BondParameters, BridgeParameters
from terra_netplan.topology import problems_between

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")
_PATTERN = re.compile(r"[A-Za-z0-9*?\[][A-Za-z0-9._*?\[\]-]{0,63}")
_WILDCARDS = set("*?[")
_MTU = range(68, 65536)
_MTU_OF_IPV6 = 1280
"""RFC 8200 section 5: no link that carries IPv6 may have less."""
_METRIC = range(2**32)
_VLAN = range(1, 4095)
"""IEEE 802.1Q: 0 is no VLAN, 4095 is reserved."""


@frozen(kw_only=True)
class Route:
    """``[[netplan.*.routes]]``: a way to other networks.

    :param to: ``default``, or a network such as ``10.0.0.0/8``.
    :param via: the gateway.
    :param metric: which route is taken where several lead there: the one with the smallest.
    :param on_link: whether the gateway is reached through the interface though no address of it has the gateway's network.
    """

    to: str
    via: Address
    metric: int | None = None
    on_link: bool = False

    @property
    def family(self) -> int:
        """4 or 6, that of its gateway."""
        return ipaddress.ip_address(self.via).version

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the values, and between them."""
        if has(self, "metric") and self.metric is not None and self.metric not in _METRIC:
            yield Problem("metric", f"expected from 0 to {_METRIC.stop - 1}, got {shown(self.metric)}")
        if has(self, "via") and (wrong := _not_of_one(self.via)):
            yield Problem("via", wrong)
            return
        if self.to == "default":
            return
        expected = 'expected "default" or a network with its prefix length, such as "10.0.0.0/8"'
        if wrong := _not_cidr(self.to):
            yield Problem("to", f"{expected}, got {wrong}")
            return
        network = ipaddress.ip_interface(self.to).network
        if ipaddress.ip_interface(self.to).ip != network.network_address:
            yield Problem("to", f"{expected}, got {shown(self.to)}, an address in {network}")
        elif has(self, "via") and network.version != self.family:
            text = f"{shown(self.via)} is an IPv{self.family} address, and leads to no network of IPv{network.version}"
            yield Problem("via", text)


@frozen(kw_only=True)
class Device:
    """What all network devices have in common.

    :param name: its name in the machine, such as ``eth0``.
    :param dhcp4: whether it asks for an IPv4 address; when left out, it does if ``addresses`` is empty and it is no part of a
        bond or a bridge.
    :param dhcp6: whether it asks for an IPv6 address.
    :param accept_ra: whether it takes IPv6 addresses and routes from router advertisements; networkd decides when left out.
    :param addresses: its own addresses, each with its prefix length, such as ``10.0.10.20/24``.
    :param gateway: the default route; it lies in the network of one of ``addresses``.
    :param routes: further routes.
    :param nameservers: the name servers to be asked through this device.
    :param search: the domains that names without a dot are looked for in.
    :param mtu: the largest packet, in bytes.
    :param optional: whether the machine starts up without waiting for it.
    """

    name: str
    dhcp4: bool | None = None
    dhcp6: bool = False
    accept_ra: bool | None = None
    addresses: tuple[str, ...] = ()
    gateway: Address | None = None
    routes: tuple[Route, ...] = ()
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
        """What is wrong with the values, and between them."""
        if has(self, "name"):
            yield from _problems_of_name("name", self.name)
        if has(self, "addresses"):
            wrong = [Problem(f"addresses[{at}]", text) for at, raw in enumerate(self.addresses) if (text := _no_address(raw))]
            yield from wrong
            yield from () if wrong else self._problems_of_ways()
        for at, server in enumerate(getattr(self, "nameservers", ())):
            if isinstance(server, str) and (text := _not_of_one(server)):
                yield Problem(f"nameservers[{at}]", text)
        if has(self, "mtu") and self.mtu is not None:
            yield from self._problems_of_mtu(self.mtu)

    def _problems_of_ways(self) -> Iterator[Problem]:
        networks = [ipaddress.ip_interface(raw).network for raw in self.addresses]
        shown_networks = ", ".join(map(str, networks)) or "there is none"
        if has(self, "gateway") and self.gateway is not None and not self._reaches(self.gateway):
            yield Problem("gateway", f"{shown(self.gateway)} is in no network of this interface's addresses ({shown_networks})")
        for at, route in enumerate(self.routes):
            if has(route, "via", "on_link") and not _not_of_one(route.via) and not route.on_link and not self._may_reach(route):
                text = f"{shown(route.via)} is in no network of this interface's addresses ({shown_networks})"
                yield Problem(f"routes[{at}].via", f"{text}; with on_link = true it is taken to be reached all the same")

    def _reaches(self, gateway: Address) -> bool:
        """A link-local gateway (RFC 4291 section 2.5.6) is on every link that has IPv6."""
        address = ipaddress.ip_address(gateway)
        interfaces = [ipaddress.ip_interface(raw) for raw in self.addresses]
        local = address.version == 6 and address.is_link_local and any(interface.version == 6 for interface in interfaces)
        return local or any(address in interface.network for interface in interfaces)

    def _may_reach(self, route: Route) -> bool:
        asks = self.asks_for_ipv4 if route.family == 4 else self.dhcp6 or bool(self.accept_ra)
        return asks or self._reaches(route.via)

    def _problems_of_mtu(self, mtu: int) -> Iterator[Problem]:
        if mtu not in _MTU:
            yield Problem("mtu", f"expected from {_MTU.start} to {_MTU.stop - 1} bytes, got {mtu}")
        elif mtu < _MTU_OF_IPV6 and (self.dhcp6 or self.accept_ra or any(":" in raw for raw in self.addresses)):
            yield Problem("mtu", f"IPv6 needs at least {_MTU_OF_IPV6} bytes, got {mtu}")


@frozen(kw_only=True)
class Match:
    """``match``: which of the machine's interfaces is meant, where its name is not what tells.

    :param macaddress: its hardware address.
    :param name: its name as the kernel or udev gives it; ``*``, ``?`` and ``[...]`` as in glob(7).
    :param driver: the name of its driver; wildcards as for ``name``.
    """

    macaddress: Mac | None = None
    name: str | None = None
    driver: str | None = None

    @property
    def is_of_one(self) -> bool:
        """Whether it can mean no more than one interface."""
        return self.macaddress is not None or (self.name is not None and not _WILDCARDS & set(self.name))

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the values."""
        for key in ("name", "driver"):
            value = getattr(self, key, None)
            if value is not None and not _PATTERN.fullmatch(value):
                yield Problem(key, f'expected a name with or without wildcards, such as "enp3*", got {shown(value)}')
        if has(self, "macaddress", "name", "driver") and self.macaddress is self.name is self.driver is None:
            yield Problem("", "matches nothing: expected macaddress, name or driver")


@frozen(kw_only=True)
class Interface(Device):
    """``[[netplan.interfaces]]``: a network interface.

    :param match: which interface it is, when not the one called ``name``.
    :param set_name: the name that it gets.
    """

    match: Match | None = None
    set_name: str | None = None

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the values, and between them."""
        yield from super().problems()
        if has(self, "set_name") and self.set_name is not None:
            yield from _problems_of_name("set_name", self.set_name)
            if has(self, "match") and (self.match is None or not self.match.is_of_one):
                yield Problem("set_name", "one name needs a match that means one interface: by macaddress, or by a whole name")


@frozen(kw_only=True)
class Vlan(Device):
    """``[[netplan.vlans]]``: a VLAN by IEEE 802.1Q.

    :param id: its number.
    :param link: the device that carries it.
    """

    id: int
    link: str

    @property
    def below(self) -> tuple[str, ...]:
        """The device that carries it."""
        return (self.link,)

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the values, and between them."""
        yield from super().problems()
        if has(self, "id") and self.id not in _VLAN:
            yield Problem("id", f"expected from {_VLAN.start} to {_VLAN.stop - 1}, got {shown(self.id)}")


@frozen(kw_only=True)
class Bond(Device):
    """``[[netplan.bonds]]``: several interfaces as one.

    :param interfaces: their names.
    :param parameters: how it works.
    """

    interfaces: tuple[str, ...]
    parameters: BondParameters = BondParameters()

    @property
    def below(self) -> tuple[str, ...]:
        """Its interfaces."""
        return self.interfaces

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the values, and between them."""
        yield from super().problems()
        if not self.interfaces:
            yield Problem("interfaces", "a bond needs an interface")
        primary = self.parameters.primary
        if primary is not None and primary not in self.interfaces:
            yield Problem("parameters.primary", f"{shown(primary)} is no interface of this bond")


@frozen(kw_only=True)
class Bridge(Device):
    """``[[netplan.bridges]]``: a switch in the machine.

    :param interfaces: the names of the devices that are plugged in.
    :param parameters: how it works.
    """

    interfaces: tuple[str, ...] = ()
    parameters: BridgeParameters = BridgeParameters()

    @property
    def below(self) -> tuple[str, ...]:
        """The devices that are plugged in."""
        return self.interfaces

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the values, and between them."""
        yield from super().problems()
        for key in ("path_cost", "port_priority"):
            for name in getattr(self.parameters, key):
                if name not in self.interfaces:
                    yield Problem(f"parameters.{key}", f"{shown(name)} is no interface of this bridge")


@frozen(kw_only=True)
class Netplan:
    """``[netplan]``; without any device, every wired interface asks for its addresses.

    :param interfaces: the machine's interfaces.
    :param vlans: VLANs on other devices.
    :param bonds: interfaces taken together.
    :param bridges: switches in the machine.
    """

    interfaces: tuple[Interface, ...] = ()
    vlans: tuple[Vlan, ...] = ()
    bonds: tuple[Bond, ...] = ()
    bridges: tuple[Bridge, ...] = ()

    def problems(self) -> Iterator[Problem]:
        """What is wrong between the devices."""
        return problems_between({kind: getattr(self, kind, ()) for kind in ("interfaces", "vlans", "bonds", "bridges")})


def _problems_of_name(key: str, name: str) -> Iterator[Problem]:
    if not _NAME.fullmatch(name):
        expected = 'an interface name of at most 15 letters, digits, dots, hyphens and underscores, such as "eth0"'
        yield Problem(key, f"expected {expected}, got {shown(name)}")


def _no_address(raw: str) -> str:
    wrong = _not_cidr(raw)
    if wrong:
        return f'expected an address with its prefix length, such as "10.0.10.20/24", got {wrong}'
    return _not_of_one(str(ipaddress.ip_interface(raw).ip))


def _not_of_one(raw: str) -> str:
    address = ipaddress.ip_address(raw)
    return f"expected the address of one machine, got {raw}" if address.is_multicast or address.is_unspecified else ""


def _not_cidr(raw: str) -> str:
    try:
        ipaddress.ip_interface(raw)
    except ValueError:
        return shown(raw)
    return shown(raw) if "/" not in raw or not raw.rpartition("/")[2].isdecimal() or "%" in raw else ""
