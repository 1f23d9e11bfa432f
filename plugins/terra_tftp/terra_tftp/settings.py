"""``[tftp]`` of controller.toml."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from enum import Enum
from typing import ClassVar

from attrs import frozen

from terra_core.config.kernel_line import is_argument
from terra_core.config.structure import Problem, has
from terra_core.config.values import Address, shown

_INTERFACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_LEASE = re.compile(r"([1-9][0-9]{0,5})([mh])")
_EVERYBODY = ipaddress.IPv4Address("255.255.255.255")
_LEAST_LEASE = 2
_LONGEST_LEASE = 365 * 24 * 60


class Dhcp(Enum):
    """What the network boot service does beside TFTP.

    With ``off``, the network's own DHCP server names the boot files. With ``proxy``, it gives out addresses and Terra
    adds the boot files (PXE 2.1, proxyDHCP). With ``server``, Terra does both.
    """

    OFF = "off"
    PROXY = "proxy"
    SERVER = "server"


@frozen(kw_only=True)
class Settings:
    """``[tftp]``. Another boot plugin's table may have the same keys, and more: see :mod:`terra_tftp`.

    :cvar table: the name of the table, for messages.
    :param dhcp: what the service does beside TFTP.
    :param interface: the network interface to serve; the one that has the controller's address when left out.
    :param range: the first and the last address that ``dhcp = "server"`` gives out.
    :param lease: how long an address is given for, in minutes (``"30m"``) or hours (``"12h"``).
    :param dns: the name servers that machines are told of by ``dhcp = "server"``.
    :param kernel_arguments: what stands at the end of every kernel line.
    :param user: the user that dnsmasq runs as.
    """

    table: ClassVar[str] = "tftp"

    dhcp: Dhcp = Dhcp.OFF
    interface: str | None = None
    range: tuple[Address, ...] = ()
    lease: str = "12h"
    dns: tuple[Address, ...] = ()
    kernel_arguments: tuple[str, ...] = ("net.ifnames=0", "console=tty0", "console=ttyS0,115200")
    user: str = "dnsmasq"

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with and between the fields that are of the right kind."""
        yield from self._pattern_problems()
        if has(self, "range", "dhcp"):
            yield from self._range_problems()
        for at, address in _texts(self, "dns"):
            if not is_of_one(address):
                yield Problem(f"dns[{at}]", f"expected the IPv4 address of one machine, got {shown(address)}")
        for at, argument in _texts(self, "kernel_arguments"):
            if not is_argument(argument):
                expected = "one kernel argument of letters, digits and ._:,/=+@%-, beginning with a letter or digit"
                yield Problem(f"kernel_arguments[{at}]", f"expected {expected}, got {shown(argument)}")

    def _pattern_problems(self) -> Iterator[Problem]:
        if has(self, "interface") and self.interface is not None and not _INTERFACE.fullmatch(self.interface):
            yield Problem("interface", f'expected the name of a network interface, such as "eth0", got {shown(self.interface)}')
        if has(self, "user") and not is_user(self.user):
            yield Problem("user", f'expected the name of a user, such as "dnsmasq", got {shown(self.user)}')
        if has(self, "lease") and not _LEAST_LEASE <= _minutes(self.lease) <= _LONGEST_LEASE:
            expected = 'minutes or hours, such as "30m" or "12h", from 2m to a year'
            yield Problem("lease", f"expected {expected}, got {shown(self.lease)}")

    def _range_problems(self) -> Iterator[Problem]:
        expected = 'the first and the last address to give out, such as ["10.0.10.50", "10.0.10.99"]'
        ends = [_ipv4(address) for _, address in _texts(self, "range")]
        if not self.range:
            if self.dhcp is Dhcp.SERVER:
                yield Problem("range", f'is required with dhcp = "server": {expected}')
        elif len(ends) < len(self.range):
            return  # an end that is no address at all has been named
        elif len(ends) != 2 or ends[0] is None or ends[1] is None:
            yield Problem("range", f"expected {expected}, as IPv4, got {shown(list(self.range))}")
        elif ends[0] > ends[1]:
            yield Problem("range", f"{ends[0]} comes after {ends[1]}: expected {expected}")


def _texts(settings: Settings, name: str) -> Iterator[tuple[int, str]]:
    """Return the items of a list that are strings, each with its place in the list."""
    return ((at, item) for at, item in enumerate(getattr(settings, name, ())) if isinstance(item, str))


def _minutes(lease: str) -> int:
    found = _LEASE.fullmatch(lease)
    return int(found[1]) * (60 if found[2] == "h" else 1) if found else 0


def is_user(name: str) -> bool:
    """Return whether it can be the name of a user, as useradd(8) has them."""
    return _USER.fullmatch(name) is not None


def is_of_one(address: str) -> bool:
    """Return whether it is the IPv4 address of one machine: DHCP has no other, and dnsmasq takes 0.0.0.0 for its own."""
    made = _ipv4(address)
    return made is not None and not (made.is_unspecified or made.is_multicast or made == _EVERYBODY)


def _ipv4(address: str) -> ipaddress.IPv4Address | None:
    made = ipaddress.ip_address(address)
    return made if isinstance(made, ipaddress.IPv4Address) else None
