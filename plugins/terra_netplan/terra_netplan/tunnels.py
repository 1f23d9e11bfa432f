"""Tunnels: https://netplan.readthedocs.io/en/stable/netplan-yaml/#properties-for-device-type-tunnels."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Literal

from attrs import frozen

from terra_core.config.addresses import PORTS, is_wireguard_key, no_endpoint, not_cidr
from terra_core.config.structure import Problem, has, out_of_range
from terra_core.config.values import Address, shown
from terra_netplan.devices import Device
from terra_netplan.routes import NUMBERS

_KEY_FILE = re.compile(r"/[A-Za-z0-9._/+-]+")
_RANGES = {
    "port": PORTS,
    "ttl": range(256),
    "mark": range(2**32),
    "id": range(1, 2**24),
    "type_of_service": range(256),
    "flow_label": range(2**20),
    "ageing": NUMBERS,
    "limit": NUMBERS,
}
_ENDS = {"wireguard", "vxlan"}
_OF_VXLAN = (
    "id", "link", "type_of_service", "flow_label", "ageing", "limit", "mac_learning", "neigh_suppress", "arp_proxy",
    "short_circuit", "notifications", "checksums",
)  # fmt: skip
_OF_WIREGUARD = ("mark", "peers")
_OF_IPV6 = {"ip6gre", "ipip6", "ip6ip6", "vti6", "ip6gretap"}
_KEYED = {"gre", "ip6gre", "gretap", "ip6gretap", "vti", "vti6", "wireguard"}


@frozen(kw_only=True)
class PeerKeys:
    """``keys`` of a peer of a WireGuard tunnel.

    :param public: its public key, in base64.
    :param shared: a secret that both know, in base64, or the path of a file in the machine that holds it.
    """

    public: str
    shared: str | None = None

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values."""
        if has(self, "public") and not is_wireguard_key(self.public):
            yield Problem("public", "expected the public key of a WireGuard peer, 44 characters of base64")
        if getattr(self, "shared", None) is not None:
            yield from _no_secret("shared", str(self.shared))


@frozen(kw_only=True)
class Peer:
    """``[[netplan.tunnels.peers]]``: another end of a WireGuard tunnel.

    :param keys: its keys.
    :param allowed_ips: the networks behind it.
    :param endpoint: where it is reached, such as ``vpn.example.com:51820``; nothing for one that comes by itself.
    :param keepalive: how often it hears from here, in seconds.
    """

    keys: PeerKeys
    allowed_ips: tuple[str, ...]
    endpoint: str | None = None
    keepalive: int | None = None

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values."""
        for at, raw in enumerate(getattr(self, "allowed_ips", ())):
            if isinstance(raw, str) and (wrong := not_cidr(raw)):
                expected = 'a network with its prefix length, such as "10.0.0.0/8"'
                yield Problem(f"allowed_ips[{at}]", f"expected {expected}, got {wrong}")
        endpoint = getattr(self, "endpoint", None)
        if endpoint is not None and (wrong := no_endpoint(endpoint)):
            yield Problem("endpoint", wrong)
        yield from out_of_range(self, {"keepalive": range(65536)})


@frozen(kw_only=True)
class Keys:
    """``keys`` of a tunnel.

    :param input: the key of packets that come, of a GRE or VTI tunnel: a number or an IPv4 address.
    :param output: the key of packets that go.
    :param private: the private key of a WireGuard tunnel, in base64, or the path of a file in the machine that holds it.
    """

    input: str | None = None
    output: str | None = None
    private: str | None = None

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values."""
        for key in ("input", "output"):
            if (value := getattr(self, key, None)) is not None and not _is_number(value):
                yield Problem(key, f'expected a number or an IPv4 address, such as "1234", got {shown(value)}')
        if getattr(self, "private", None) is not None:
            yield from _no_secret("private", str(self.private))


@frozen(kw_only=True)
class Tunnel(Device):
    """``[[netplan.tunnels]]``: a way through other networks.

    :param mode: what it speaks.
    :param local: the address of this end.
    :param remote: the address of the other end, or of the group of a VXLAN.
    :param ttl: over how many routers its packets go.
    :param key: the key of both directions, or the private key of a WireGuard tunnel; see :class:`Keys`.
    :param keys: the keys, where they are not one.
    :param port: the UDP port of WireGuard or VXLAN.
    :param mark: the firewall's mark of packets of a WireGuard tunnel.
    :param peers: the other ends of a WireGuard tunnel.
    :param id: the number of a VXLAN.
    :param link: the device that carries a VXLAN.
    :param type_of_service: the field of that name, of a VXLAN's packets.
    :param flow_label: the field of that name, of a VXLAN's packets over IPv6.
    :param ageing: how long a VXLAN remembers a hardware address, in seconds.
    :param limit: how many of them it remembers.
    :param mac_learning: whether it learns them from packets.
    :param neigh_suppress: whether it answers for neighbours that it knows, as a port of a bridge.
    :param arp_proxy: whether it answers ARP for machines on the other side.
    :param short_circuit: whether it routes packets between VXLANs by itself.
    :param notifications: what it tells programs that it does not know.
    :param checksums: which checksums it makes, and asks for.
    """

    mode: Literal[
        "sit", "gre", "ip6gre", "ipip", "ipip6", "ip6ip6", "vti", "vti6", "gretap", "ip6gretap", "wireguard", "vxlan"
    ]
    local: Address | None = None
    remote: Address | None = None
    ttl: int | None = None
    key: str | None = None
    keys: Keys | None = None
    port: int | None = None
    mark: int | None = None
    peers: tuple[Peer, ...] = ()
    id: int | None = None
    link: str | None = None
    type_of_service: int | None = None
    flow_label: int | None = None
    ageing: int | None = None
    limit: int | None = None
    mac_learning: bool | None = None
    neigh_suppress: bool | None = None
    arp_proxy: bool | None = None
    short_circuit: bool | None = None
    notifications: tuple[Literal["l2-miss", "l3-miss"], ...] = ()
    checksums: tuple[Literal["udp", "zero-udp6-tx", "zero-udp6-rx", "remote-tx", "remote-rx"], ...] = ()

    @property
    def asks_for_ipv4(self) -> bool:
        """A tunnel asks only when it is told to."""
        return bool(self.dhcp4)

    @property
    def below(self) -> tuple[str, ...]:
        """The device that carries it."""
        return () if self.link is None else (self.link,)

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values, and between them."""
        yield from super().problems()
        yield from out_of_range(self, _RANGES)
        if not has(self, "mode"):
            return
        for mode, keys in (("vxlan", _OF_VXLAN), ("wireguard", _OF_WIREGUARD)):
            given = [key for key in keys if self.mode != mode and getattr(self, key, None) not in (None, ())]
            yield from (Problem(key, f"means nothing in mode {self.mode}, only in {mode}") for key in given)
        for key in ("key", "keys"):
            if getattr(self, key, None) is not None and self.mode not in _KEYED:
                yield Problem(key, f"means nothing in mode {self.mode}, only in {', '.join(sorted(_KEYED))}")
        if getattr(self, "port", None) is not None and self.mode not in _ENDS:
            yield Problem("port", f"means nothing in mode {self.mode}, only in {', '.join(sorted(_ENDS))}")
        yield from self._problems_of_needs()
        yield from self._problems_of_families()

    def _problems_of_families(self) -> Iterator[Problem]:
        ends = {key: ipaddress.ip_address(raw).version for key in ("local", "remote") if (raw := getattr(self, key, None))}
        if self.mode == "vxlan" and len(set(ends.values())) > 1:
            yield Problem("remote", "both ends have to be of one family, IPv4 or IPv6")
        elif self.mode not in _ENDS:
            wanted = 6 if self.mode in _OF_IPV6 else 4
            wrong = [key for key, family in ends.items() if family != wanted]
            yield from (Problem(key, f"expected an IPv{wanted} address in mode {self.mode}") for key in wrong)

    def _problems_of_needs(self) -> Iterator[Problem]:
        if self.mode == "wireguard":
            if has(self, "key") and self.key is not None:
                yield from _no_secret("key", self.key)
            elif has(self, "key", "keys") and (self.keys is None or getattr(self.keys, "private", "") is None):
                yield Problem("key", "is required and missing: the private key of this end")
            if not getattr(self, "peers", (None,)):
                yield Problem("peers", "is required and missing: a WireGuard tunnel has a peer")
        elif self.mode == "vxlan":
            if has(self, "id") and self.id is None:
                yield Problem("id", "is required and missing")
        else:
            if has(self, "remote") and self.remote is None:
                yield Problem("remote", "is required and missing")
            if getattr(self, "key", None) is not None and not _is_number(str(self.key)):
                yield Problem("key", f'expected a number or an IPv4 address, such as "1234", got {shown(self.key)}')


def _no_secret(key: str, raw: str) -> Iterator[Problem]:
    """Yield what is wrong with a secret, without showing it."""
    if not is_wireguard_key(raw) and not _KEY_FILE.fullmatch(raw):
        expected = "a key of WireGuard's, 44 characters of base64, or the absolute path of a file that holds it"
        yield Problem(key, f"expected {expected}")


def _is_number(raw: str) -> bool:
    try:
        return int(ipaddress.IPv4Address(int(raw) if raw.isdecimal() else raw)) >= 0
    except ValueError:
        return False
