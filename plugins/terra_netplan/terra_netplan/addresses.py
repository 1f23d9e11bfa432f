"""What is wrong with an address, a network or an interface's name; empty when nothing is."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from terra_core.config.structure import Problem
from terra_core.config.values import shown

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")
_NO_NAMES = frozenset({"all", "default"})
"""Directories below /proc/sys/net/ipv4/conf that belong to no interface; networkd passes such a device over."""


def problems_of_name(key: str, name: str) -> Iterator[Problem]:
    """What is wrong with the name of a network interface (``dev_valid_name`` in the kernel, and no word of networkd's own)."""
    if not _NAME.fullmatch(name):
        expected = 'an interface name of at most 15 letters, digits, dots, hyphens and underscores, such as "eth0"'
        yield Problem(key, f"expected {expected}, got {shown(name)}")
    elif name in _NO_NAMES or name.isdecimal():
        yield Problem(key, f"{shown(name)} is no name to networkd, which passes such an interface over")


def no_address(raw: str) -> str:
    """What is wrong with the address of an interface, which has a prefix length."""
    wrong = not_cidr(raw)
    if wrong:
        return f'expected an address with its prefix length, such as "10.0.10.20/24", got {wrong}'
    return not_of_one(str(ipaddress.ip_interface(raw).ip))


def not_of_one(raw: str) -> str:
    """What is wrong with the address of one machine."""
    address = ipaddress.ip_address(raw)
    return f"expected the address of one machine, got {raw}" if address.is_multicast or address.is_unspecified else ""


def not_cidr(raw: str) -> str:
    """What was given in place of an address and a prefix length."""
    try:
        ipaddress.ip_interface(raw)
    except ValueError:
        return shown(raw)
    return shown(raw) if "/" not in raw or not raw.rpartition("/")[2].isdecimal() or "%" in raw else ""


def no_network(raw: str) -> str:
    """What is wrong with a network, which has a prefix length and no bits behind it."""
    if wrong := not_cidr(raw):
        return wrong
    interface = ipaddress.ip_interface(raw)
    return "" if interface.ip == interface.network.network_address else f"{shown(raw)}, an address in {interface.network}"
