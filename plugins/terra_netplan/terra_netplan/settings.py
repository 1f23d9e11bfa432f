"""The ``[netplan]`` table of server.toml."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from attrs import frozen

from terra_core.config.structure import Problem
from terra_core.config.values import Address, shown

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")
_MTU = range(68, 65536)
_MTU_OF_IPV6 = 1280
"""RFC 8200 section 5: no link that carries IPv6 may have less."""


@frozen(kw_only=True)
class Interface:
    """``[[netplan.interfaces]]``: one network interface.

    :param name: its name in the machine, such as ``eth0``.
    :param dhcp4: whether it asks for an IPv4 address; when left out, it does if ``addresses`` is empty.
    :param dhcp6: whether it asks for an IPv6 address.
    :param addresses: its own addresses, each with its prefix length, such as ``10.0.10.20/24``.
    :param gateway: the default route; it lies in the network of one of ``addresses``.
    :param nameservers: the name servers to be asked through this interface.
    :param mtu: the largest packet, in bytes.
    :param optional: whether the machine starts up without waiting for it.
    """

    name: str
    dhcp4: bool | None = None
    dhcp6: bool = False
    addresses: tuple[str, ...] = ()
    gateway: Address | None = None
    nameservers: tuple[Address, ...] = ()
    mtu: int | None = None
    optional: bool = False

    @property
    def asks_for_ipv4(self) -> bool:
        """Whether it asks for an IPv4 address."""
        return not self.addresses if self.dhcp4 is None else self.dhcp4

    def problems(self) -> Iterator[Problem]:
        """What is wrong with the values, and between them."""
        if not _NAME.fullmatch(self.name):
            expected = 'an interface name of at most 15 letters, digits, dots, hyphens and underscores, such as "eth0"'
            yield Problem("name", f"expected {expected}, got {shown(self.name)}")
        wrong = [Problem(f"addresses[{at}]", text) for at, raw in enumerate(self.addresses) if (text := _not_cidr(raw))]
        yield from wrong
        if not wrong:
            yield from self._problems_of_gateway()
        yield from self._problems_of_mtu()

    def _problems_of_gateway(self) -> Iterator[Problem]:
        if self.gateway is None:
            return
        gateway = ipaddress.ip_address(self.gateway)
        if not any(gateway in ipaddress.ip_interface(raw).network for raw in self.addresses):
            networks = ", ".join(str(ipaddress.ip_interface(raw).network) for raw in self.addresses) or "there is none"
            yield Problem("gateway", f"{shown(self.gateway)} is in no network of this interface's addresses ({networks})")

    def _problems_of_mtu(self) -> Iterator[Problem]:
        if self.mtu is None:
            return
        if self.mtu not in _MTU:
            yield Problem("mtu", f"expected from {_MTU.start} to {_MTU.stop - 1} bytes, got {self.mtu}")
        elif self.mtu < _MTU_OF_IPV6 and (self.dhcp6 or any(":" in raw for raw in self.addresses)):
            yield Problem("mtu", f"IPv6 needs at least {_MTU_OF_IPV6} bytes, got {self.mtu}")


@frozen(kw_only=True)
class Netplan:
    """``[netplan]``.

    :param interfaces: the interfaces; when there are none, every wired one asks for its addresses.
    """

    interfaces: tuple[Interface, ...] = ()

    def problems(self) -> Iterator[Problem]:
        """What is wrong between the interfaces."""
        first: dict[str, int] = {}
        for at, interface in enumerate(self.interfaces):
            if first.setdefault(interface.name, at) != at:
                where = f"interfaces[{first[interface.name]}]"
                yield Problem(f"interfaces[{at}].name", f"{shown(interface.name)} is the name of {where} already")


def _not_cidr(raw: str) -> str:
    expected = 'an address with its prefix length, such as "10.0.10.20/24"'
    try:
        ipaddress.ip_interface(raw)
    except ValueError:
        return f"expected {expected}, got {shown(raw)}"
    if "/" not in raw or not raw.rpartition("/")[2].isdecimal() or "%" in raw:
        return f"expected {expected}, got {shown(raw)}"
    return ""
