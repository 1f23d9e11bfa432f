"""Sections of systemd's configuration files as models: the values of each key, and its name there (systemd.syntax(7))."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
from attrs import frozen

from terra_core.config.structure import Problem, key_of

Check = Callable[[Any], str]
"""Returns what is wrong with a value, and nothing when it is right."""

_CHECK = "check"
_PRINTABLE = re.compile(r"[!-~]+(?: [!-~]+)*")
_SPELLED: Mapping[str, str] = {
    "arp": "ARP", "bpdu": "BPDU", "dhcp": "DHCP", "dhcpv4": "DHCPv4", "dhcpv6": "DHCPv6", "dns": "DNS", "dnssec": "DNSSEC",
    "fdb": "FDB", "gvrp": "GVRP", "igmp": "IGMP", "ip": "IP", "ips": "IPs", "ipv4": "IPv4", "ipv6": "IPv6", "ipvlan": "IPVLAN",
    "lacp": "LACP", "lldp": "LLDP", "llmnr": "LLMNR", "mac": "MAC", "macvlan": "MACVLAN", "mii": "MII", "mtu": "MTU",
    "mvrp": "MVRP", "netdev": "NetDev", "ntp": "NTP", "pvid": "PVID", "ra": "RA", "stp": "STP", "tcp": "TCP", "tcp6": "TCP6",
    "tls": "TLS", "tos": "TOS", "ttl": "TTL", "udp": "UDP", "vlan": "VLAN", "vni": "VNI", "vrf": "VRF", "vxlan": "VXLAN",
    "wireguard": "WireGuard",
}  # fmt: skip
"""Words that systemd does not write with one capital letter."""
_EXCEPTIONS: Mapping[str, str] = {"mac_learning": "MacLearning"}


def key(check: Check | None = None) -> Any:  # the field of a model, whatever its type
    """Declare a key that may be left out; ``check`` is asked of its value, or of each item of a list."""
    return attrs.field(default=None, metadata={_CHECK: check})


def items(check: Check | None = None) -> Any:  # as above
    """Declare a key that holds a list, empty when left out."""
    return attrs.field(default=(), metadata={_CHECK: check})


def needed(check: Check | None = None) -> Any:  # as above
    """Declare a key that has to be there."""
    return attrs.field(metadata={_CHECK: check})


@frozen(kw_only=True)
class Section:
    """A section of a file; a subclass is one table of server.toml."""

    def problems(self) -> Iterator[Problem]:
        """Find what is wrong with the values of its keys."""
        for field in attrs.fields(type(self)):
            check: Check | None = field.metadata.get(_CHECK)
            value = getattr(self, field.name, None)
            if check is None or value is None:
                continue
            listed = isinstance(value, tuple)
            for at, item in enumerate(value if listed else (value,)):
                # An item that could not be read is reported already, and has no value.
                if isinstance(item, str | int | float) and (wrong := check(item)):
                    yield Problem(f"{key_of(field.name)}[{at}]" if listed else key_of(field.name), wrong)

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing."""
        return not any(True for _ in said(self))


def spelled(name: str) -> str:
    """Return systemd's name of a key or a section: ``mtu_bytes`` is ``MTUBytes``."""
    plain = key_of(name)
    return _EXCEPTIONS.get(plain) or "".join(_SPELLED.get(word, word.capitalize()) for word in plain.split("_"))


def said(section: Section) -> Iterator[tuple[str, object]]:
    """Find the keys that a section has a value for, by the names of its fields."""
    for field in attrs.fields(type(section)):
        value = getattr(section, field.name, None)
        if value is not None and value != ():
            yield field.name, value


def lines_of_section(name: str, section: Section, *, apart: bool = False) -> list[str]:
    """Write a section.

    :param name: its name, as a table of server.toml has it.
    :param apart: give each item of a list a line of its own, where systemd takes one only.
    """
    lines = [f"[{spelled(name)}]"]
    for field, value in said(section):
        values = value if isinstance(value, tuple) else (value,)
        texts = [_text(item) for item in values]
        lines += [_line(field, text) for text in (texts if apart else [_joined(texts)])]
    return lines


def _line(field: str, text: str) -> str:
    # The models allow nothing else; this check does not depend on them.
    if not _PRINTABLE.fullmatch(text) or text.endswith("\\"):
        raise ValueError(f"{spelled(field)}= cannot hold {text!r}")
    return f"{spelled(field)}={text}"


def _joined(texts: Sequence[str]) -> str:
    """Join the items of a list; a "!" before the first one negates the whole list (systemd.network(5))."""
    if texts[0].startswith("!"):
        return "!" + " ".join(text.removeprefix("!") for text in texts)
    return " ".join(texts)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return _time(value)
    return str(value)


def _time(seconds: float) -> str:
    """Write a time span (systemd.time(7))."""
    micros = round(seconds * 1_000_000)
    for unit, size in (("s", 1_000_000), ("ms", 1_000)):
        if micros % size == 0:
            return f"{micros // size}{unit}"
    return f"{micros}us"
