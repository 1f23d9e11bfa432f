"""``[[networks]]`` of vhost.toml: what a container is connected to, and how it gets its addresses."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from enum import Enum

from attrs import frozen

from terra_core.config.structure import Problem, has
from terra_core.config.values import Address, Mac, shown

_INTERFACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")
_MTU = range(68, 65536)


class NetworkType(Enum):
    """How a container is connected.

    With ``host`` it shares the machine's own network. With ``macvlan`` and ``ipvlan`` it is a machine of its own on the
    network of an interface of the host's. With ``bridge`` it is on a bridge of the host's.
    """

    HOST = "host"
    MACVLAN = "macvlan"
    BRIDGE = "bridge"
    IPVLAN = "ipvlan"


class IpamType(Enum):
    """Who gives the addresses: the network's DHCP server, Orbit from a range of its own, or the file itself."""

    DHCP = "dhcp"
    HOST_LOCAL = "host-local"
    STATIC = "static"


@frozen(kw_only=True)
class Ipam:
    """``[networks.ipam]``.

    :param type: who gives the addresses.
    :param subnet: of ``host-local``: the network, such as ``10.88.0.0/16``.
    :param range_start: of ``host-local``: the first address that is given.
    :param range_end: of ``host-local``: the last one.
    :param addresses: of ``static``: the addresses, each with its prefix length.
    :param gateway: of ``host-local`` and ``static``: the default route; with ``bridge``, ``host-local`` takes the first
        address of the subnet when it is left out.
    """

    type: IpamType = IpamType.DHCP
    subnet: str | None = None
    range_start: Address | None = None
    range_end: Address | None = None
    addresses: tuple[str, ...] = ()
    gateway: Address | None = None

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values, and between them."""
        if not has(self, "type"):
            return
        allowed = {
            IpamType.DHCP: set(),
            IpamType.HOST_LOCAL: {"subnet", "range_start", "range_end", "gateway"},
            IpamType.STATIC: {"addresses", "gateway"},
        }[self.type]
        for name in ("subnet", "range_start", "range_end", "addresses", "gateway"):
            if name not in allowed and has(self, name) and getattr(self, name):
                yield Problem(name, f'has no meaning with type = "{self.type.value}"')
        if self.type is IpamType.HOST_LOCAL:
            yield from self._problems_of_subnet()
        if self.type is IpamType.STATIC:
            yield from self._problems_of_addresses()

    def _problems_of_subnet(self) -> Iterator[Problem]:
        if not has(self, "subnet"):
            return
        expected = 'a network with its prefix length, such as "10.88.0.0/16"'
        if self.subnet is None:
            yield Problem("subnet", f'is required with type = "host-local": {expected}')
            return
        try:
            network = ipaddress.ip_network(self.subnet)
        except ValueError:
            yield Problem("subnet", f"expected {expected}, got {shown(self.subnet)}")
            return
        if "/" not in self.subnet or network.num_addresses < 4:
            yield Problem("subnet", f"expected a network with room for addresses, got {shown(self.subnet)}")
        for name in ("range_start", "range_end", "gateway"):
            address = getattr(self, name, None)
            if address is not None and ipaddress.ip_address(address) not in network:
                yield Problem(name, f"{shown(address)} is not in the subnet {self.subnet}")
        first, last = getattr(self, "range_start", None), getattr(self, "range_end", None)
        if first and last and _above(first, last):
            yield Problem("range_end", f"{shown(last)} comes before range_start, {first}")

    def _problems_of_addresses(self) -> Iterator[Problem]:
        if not has(self, "addresses"):
            return
        if not self.addresses:
            yield Problem("addresses", 'is required with type = "static", such as ["10.0.10.20/24"]')
        networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network | None] = []
        for at, raw in enumerate(self.addresses):
            try:
                networks.append(ipaddress.ip_interface(raw).network)
            except ValueError:
                networks.append(None)
            if networks[-1] is None or not re.fullmatch(r"[^%]+/[0-9]+", raw):
                expected = 'an address with its prefix length, such as "10.0.10.20/24"'
                yield Problem(f"addresses[{at}]", f"expected {expected}, got {shown(raw)}")
        gateway = getattr(self, "gateway", None)
        if gateway and not any(network and ipaddress.ip_address(gateway) in network for network in networks):
            yield Problem("gateway", f"{shown(gateway)} is in no network of the addresses")


@frozen(kw_only=True)
class Network:
    """``[[networks]]``: one connection of a container; the first is ``eth0`` in it, the second ``eth1``.

    :param type: how it is connected.
    :param name: the network's name; containers whose networks have one name share its addresses, and with ``bridge`` it is
        the bridge's name, too.
    :param master: of ``macvlan`` and ``ipvlan``: the host's interface; that of its default route when left out.
    :param mode: of ``macvlan``: ``bridge`` (the default), ``private``, ``vepa`` or ``passthru``; of ``ipvlan``: ``l2`` (the
        default), ``l3`` or ``l3s``.
    :param mac: the connection's hardware address; one that nobody else has when left out.
    :param mtu: the largest packet, in bytes.
    :param masquerade: of ``bridge``: let the container's traffic leave the host under the host's address.
    :param ipam: how it gets its addresses.
    """

    type: NetworkType
    name: str | None = None
    master: str | None = None
    mode: str | None = None
    mac: Mac | None = None
    mtu: int | None = None
    masquerade: bool = False
    ipam: Ipam | None = None

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values, and between them."""
        for key in ("name", "master"):
            value = getattr(self, key, None)
            if value is not None and not _INTERFACE.fullmatch(value):
                expected = "a name of at most 15 letters, digits, dots, hyphens and underscores"
                yield Problem(key, f"expected {expected}, got {shown(value)}")
        if getattr(self, "mtu", None) is not None and self.mtu not in _MTU:
            yield Problem("mtu", f"expected from {_MTU.start} to {_MTU.stop - 1} bytes, got {self.mtu}")
        if has(self, "type"):
            yield from self._problems_of_type()

    def _problems_of_type(self) -> Iterator[Problem]:
        kind = self.type.value
        modes = {"macvlan": ("bridge", "private", "vepa", "passthru"), "ipvlan": ("l2", "l3", "l3s")}.get(kind, ())
        mode = getattr(self, "mode", None)
        if mode is not None and mode not in modes:
            wanted = f"{shown(mode)} is not one of {', '.join(modes)}"
            yield Problem("mode", wanted if modes else f'has no meaning with type = "{kind}"')
        for key, kinds in (("master", ("macvlan", "ipvlan")), ("masquerade", ("bridge",)), ("mac", ("macvlan", "bridge"))):
            if getattr(self, key, None) and kind not in kinds:
                yield Problem(key, f'has no meaning with type = "{kind}"')
        yield from self._problems_of_host() if self.type is NetworkType.HOST else self._problems_of_own()

    def _problems_of_host(self) -> Iterator[Problem]:
        for key in ("name", "mtu", "ipam"):
            if getattr(self, key, None) is not None:
                yield Problem(key, 'has no meaning with type = "host"')

    def _problems_of_own(self) -> Iterator[Problem]:
        if has(self, "name") and self.name is None:
            yield Problem("name", "is required and missing")
        if has(self, "ipam") and self.ipam is None:
            yield Problem("ipam", 'is required and missing: [networks.ipam] with type = "dhcp", "host-local" or "static"')
        if self.type is NetworkType.IPVLAN and self.ipam is not None and getattr(self.ipam, "type", None) is IpamType.DHCP:
            shared = "ipvlan shares the host's hardware address, by which DHCP tells machines apart: use macvlan"
            yield Problem("ipam.type", shared)


def _above(first: str, last: str) -> bool:
    one, other = ipaddress.ip_address(first), ipaddress.ip_address(last)
    return one.version == other.version and int(one) > int(other)
