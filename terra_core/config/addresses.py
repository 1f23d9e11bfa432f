"""Checks of what stands in network configuration; each returns what is wrong with a value, and nothing when it is right."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence

from terra_core.config.structure import Problem
from terra_core.config.values import shown

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")
_NO_NAMES = frozenset({"all", "default"})
"""Directories below /proc/sys/net/ipv4/conf that belong to no interface; networkd passes such a device over."""
_WIREGUARD_KEY = re.compile(r"[A-Za-z0-9+/]{43}=")
_ENDPOINT = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")
PORTS = range(1, 65536)
"""Ports of TCP and UDP."""


def problems_of_name(key: str, name: str) -> Iterator[Problem]:
    """Yield what is wrong with an interface's name, by ``dev_valid_name`` of the kernel and the words reserved by networkd."""
    if not _NAME.fullmatch(name):
        expected = 'an interface name of at most 15 letters, digits, dots, hyphens and underscores, such as "eth0"'
        yield Problem(key, f"expected {expected}, got {shown(name)}")
    elif name in _NO_NAMES or name.isdecimal():
        yield Problem(key, f"{shown(name)} is no name to networkd, which passes such an interface over")


def no_address(raw: str) -> str:
    """Return what is wrong with the address of an interface, which has a prefix length."""
    wrong = not_cidr(raw)
    if wrong:
        return f'expected an address with its prefix length, such as "10.0.10.20/24", got {wrong}'
    return not_of_one(str(ipaddress.ip_interface(raw).ip))


def not_of_one(raw: str) -> str:
    """Return what is wrong with the address of one machine."""
    address = ipaddress.ip_address(raw)
    return f"expected the address of one machine, got {raw}" if address.is_multicast or address.is_unspecified else ""


def not_cidr(raw: str) -> str:
    """Return the value as an error shows it when it is no address with a prefix length; an empty string when it is one."""
    try:
        ipaddress.ip_interface(raw)
    except ValueError:
        return shown(raw)
    return shown(raw) if "/" not in raw or not raw.rpartition("/")[2].isdecimal() or "%" in raw else ""


def no_network(raw: str) -> str:
    """Return what is wrong with a network, which has a prefix length and no bits behind it."""
    if wrong := not_cidr(raw):
        return wrong
    interface = ipaddress.ip_interface(raw)
    return "" if interface.ip == interface.network.network_address else f"{shown(raw)}, an address in {interface.network}"


def is_reached(gateway: str, addresses: Sequence[str]) -> bool:
    """Return whether a gateway is on the link of an interface with these addresses.

    A link-local gateway (RFC 4291 section 2.5.6) is on every link that has IPv6.

    :param addresses: addresses with their prefix lengths.
    """
    address = ipaddress.ip_address(gateway)
    interfaces = [ipaddress.ip_interface(raw) for raw in addresses]
    local = address.version == 6 and address.is_link_local and any(interface.version == 6 for interface in interfaces)
    return local or any(address in interface.network for interface in interfaces)


def no_router(gateway: str, addresses: Sequence[str]) -> str:
    """Return what keeps an address from being the gateway of an interface with these addresses.

    :param addresses: as for :func:`is_reached`.
    """
    address = ipaddress.ip_address(gateway)
    for interface in map(ipaddress.ip_interface, addresses):
        if address == interface.ip:
            return f"{shown(gateway)} is the address of this interface itself"
        network = interface.network
        if network.version == 4 and network.num_addresses > 2 and address == network.broadcast_address:
            return f"{shown(gateway)} is the broadcast address of {network}"
    return ""


def is_wireguard_key(raw: str) -> bool:
    """Return whether text is a key of WireGuard's, in base64 as wg(8) writes it."""
    return _WIREGUARD_KEY.fullmatch(raw) is not None


def no_endpoint(raw: str) -> str:
    """Return what is wrong with a host and its port, such as ``vpn.example.com:51820`` or ``[fd00::1]:51820``."""
    found = _ENDPOINT.fullmatch(raw)
    right = found and int(found[1]) in PORTS
    return "" if right else f'expected a host and its port, such as "vpn.example.com:51820", got {shown(raw)}'
