"""Checks of single values; each returns what is wrong, and nothing when the value is right."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Sequence

from terra_core.config.addresses import not_cidr, not_of_one, problems_of_name
from terra_core.config.structure import not_in
from terra_core.config.values import parse_address, parse_domain, parse_hostname, parse_mac, shown
from terra_networkd.sections import Check

_GLOB = re.compile(r"!?[A-Za-z0-9*?\[][A-Za-z0-9._:*?\[\]@,+-]{0,63}")
_WILDCARDS = frozenset("*?[!")
_WORD = re.compile(r"!?[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9:._-]{0,14}")
_KEY_FILE = re.compile(r"(?:/[A-Za-z0-9._+-]+)+")
_PORT_AND_NAME = re.compile(r"(?P<address>[^#]*?)(?:#(?P<name>[^#]+))?")
_BRACKETED = re.compile(r"\[(?P<address>[0-9A-Fa-f:.]+)\]:(?P<port>[0-9]{1,5})|(?P<four>[0-9.]+):(?P<port_of_four>[0-9]{1,5})")
_VLANS = re.compile(r"([0-9]{1,4})(?:-([0-9]{1,4}))?")
FROM_DHCP = ("_dhcp4", "_ipv6ra")
"""In place of a gateway's address: the one that DHCP or a router advertisement names."""


def numbers(first: int, last: int) -> Check:
    """Return the check of a number from ``first`` to ``last``."""
    return lambda value: not_in(range(first, last + 1), value)


def seconds(first: float, last: float) -> Check:
    """Return the check of a time in seconds from ``first`` to ``last``."""
    return lambda value: "" if first <= value <= last else f"expected from {first:g} to {last:g} seconds, got {shown(value)}"


def no_name(raw: str) -> str:
    """Return what is wrong with the name of an interface."""
    return next((problem.text for problem in problems_of_name("", raw)), "")


def no_glob(raw: str) -> str:
    """Return what is wrong with a pattern for an interface's name, path, driver, type or kind (glob(7))."""
    expected = 'a name with or without wildcards, such as "enp3*", or "!enp3*" for all others'
    return "" if _GLOB.fullmatch(raw) else f"expected {expected}, got {shown(raw)}"


def no_word(raw: str) -> str:
    """Return what is wrong with one word."""
    return "" if _WORD.fullmatch(raw) else f"expected a word of letters, digits, dots and hyphens, got {shown(raw)}"


def no_label(raw: str) -> str:
    """Return what is wrong with the label of an address."""
    return "" if _LABEL.fullmatch(raw) else f"expected at most 15 letters, digits, colons, dots and hyphens, got {shown(raw)}"


def no_key_file(raw: str) -> str:
    """Return what is wrong with the path of a file of the machine that holds a key."""
    right = _KEY_FILE.fullmatch(raw) and ".." not in raw.split("/") and len(raw) <= 1024
    return "" if right else f'expected the absolute path of a file, such as "/etc/wireguard/private.key", got {shown(raw)}'


def no_domain(raw: str) -> str:
    """Return what is wrong with a domain; "~" in front makes it a routing-only domain, and "~." stands for all domains."""
    if raw == "~.":
        return ""
    return _refusal(parse_domain, raw.removeprefix("~"))


def no_host(raw: str) -> str:
    """Return what is wrong with the name or address of one host."""
    if not _refusal(parse_address, raw):
        return not_of_one(raw)
    return _refusal(parse_hostname, raw) and f"expected the address or the name of a host, got {shown(raw)}"


def no_address_of_one(raw: str) -> str:
    """Return what is wrong with the address of one host."""
    return _refusal(parse_address, raw) or not_of_one(raw)


def no_dns_server(raw: str) -> str:
    """Return what is wrong with a name server: an address, a port if any, and the name of its certificate if any."""
    found = _PORT_AND_NAME.fullmatch(raw)
    name = found["name"] if found else None
    address = found["address"] if found else raw
    ported = _BRACKETED.fullmatch(address)
    if ported:
        address = ported["address"] or ported["four"]
        if not 0 < int(ported["port"] or ported["port_of_four"]) < 65536:
            return f"expected a port from 1 to 65535, got {shown(raw)}"
    if _refusal(parse_address, address) or (name is not None and _refusal(parse_domain, name)):
        expected = 'the address of a name server, such as "10.0.10.1" or "[fd00::1]:853#dns.example.com"'
        return f"expected {expected}, got {shown(raw)}"
    return not_of_one(address)


def is_plain_server(raw: str) -> bool:
    """Return whether a name server is an address alone, as resolv.conf(5) takes it."""
    return not _refusal(parse_address, raw)


def no_gateway(raw: str) -> str:
    """Return what is wrong with a gateway: an address, or a word for the one that is learnt."""
    return "" if raw in FROM_DHCP else no_address_of_one(raw)


def no_prefix(raw: str) -> str:
    """Return what is wrong with a network or an address."""
    expected = 'a network or an address, such as "10.0.0.0/8"'
    if "/" not in raw:
        return f"expected {expected}, got {shown(raw)}" if _refusal(parse_address, raw) else ""
    if wrong := not_cidr(raw):
        return f"expected {expected}, got {wrong}"
    interface = ipaddress.ip_interface(raw)
    inside = interface.ip == interface.network.network_address
    return "" if inside else f"expected {expected}, got {shown(raw)}, an address in {interface.network}"


def no_allowed_ip(raw: str) -> str:
    """Return what is wrong with a network behind a WireGuard peer; the bits behind the prefix do not count."""
    wrong = not_cidr(raw)
    return f'expected a network with its prefix length, such as "10.0.0.0/8", got {wrong}' if wrong else ""


def no_vlan_range(raw: str) -> str:
    """Return what is wrong with the number of a VLAN, or with a range of them."""
    found = _VLANS.fullmatch(raw)
    ends = [int(end) for end in found.groups() if end is not None] if found else []
    right = ends and all(0 < end < 4095 for end in ends) and ends == sorted(ends)
    return "" if right else f'expected a VLAN from 1 to 4094, or a range such as "10-20", got {shown(raw)}'


def no_ipv4(raw: str) -> str:
    """Return what is wrong with the IPv4 address of one host."""
    return no_address_of_one(raw) or ("" if ":" not in raw else f"{shown(raw)} is no IPv4 address")


def no_peer(raw: str) -> str:
    """Return what is wrong with the address of the other end of a link, with or without a prefix length."""
    return no_allowed_ip(raw) if "/" in raw else no_address_of_one(raw)


def no_mac(raw: str) -> str:
    """Return what is wrong with a hardware address."""
    return _refusal(parse_mac, raw)


def are_of_one(names: Sequence[str]) -> bool:
    """Return whether names that are matched with can mean no more than one interface."""
    return len(names) == 1 and not _WILDCARDS & set(names[0])


def mixed(names: Collection[str]) -> bool:
    """Return whether some of the names that are matched with are negated and some are not."""
    return len({name.startswith("!") for name in names}) > 1


def _refusal(parse: Callable[[object], object], raw: str) -> str:
    try:
        parse(raw)
    except ValueError as error:
        return str(error)
    return ""
