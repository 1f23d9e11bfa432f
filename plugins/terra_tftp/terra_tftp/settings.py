"""``[tftp]`` of controller.toml."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from enum import Enum

from attrs import frozen

from terra_core.config.structure import Problem
from terra_core.config.values import Address, shown
from terra_tftp.kernel_line import is_argument

_INTERFACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_LEASE = re.compile(r"([1-9][0-9]{0,5})([mh])")
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
    """``[tftp]``.

    :param dhcp: what the service does beside TFTP.
    :param interface: the network interface to serve; the one that has the controller's address when left out.
    :param range: the first and the last address that ``dhcp = "server"`` gives out.
    :param lease: how long an address is given for, in minutes (``"30m"``) or hours (``"12h"``).
    :param dns: the name servers that machines are told of by ``dhcp = "server"``.
    :param kernel_arguments: what stands at the end of every kernel line.
    :param user: the user that dnsmasq runs as.
    """

    dhcp: Dhcp = Dhcp.OFF
    interface: str | None = None
    range: tuple[Address, ...] = ()
    lease: str = "12h"
    dns: tuple[Address, ...] = ()
    kernel_arguments: tuple[str, ...] = ("net.ifnames=0", "console=tty0", "console=ttyS0,115200")
    user: str = "dnsmasq"

    def problems(self) -> Iterator[Problem]:
        """What is wrong with and between the fields."""
        if self.interface is not None and not _INTERFACE.fullmatch(self.interface):
            yield Problem("interface", f'expected the name of a network interface, such as "eth0", got {shown(self.interface)}')
        yield from self._range_problems()
        yield from self._lease_problems()
        for at, address in enumerate(self.dns):
            if _ipv4(address) is None:
                yield Problem(f"dns[{at}]", f"expected an IPv4 address, got {shown(address)}")
        for at, argument in enumerate(self.kernel_arguments):
            if not is_argument(argument):
                expected = "one kernel argument of letters, digits and ._:,/=+@%-, beginning with a letter or digit"
                yield Problem(f"kernel_arguments[{at}]", f"expected {expected}, got {shown(argument)}")
        if not _USER.fullmatch(self.user):
            yield Problem("user", f'expected the name of a user, such as "dnsmasq", got {shown(self.user)}')

    def _range_problems(self) -> Iterator[Problem]:
        expected = 'the first and the last address to give out, such as ["10.0.10.50", "10.0.10.99"]'
        if not self.range:
            if self.dhcp is Dhcp.SERVER:
                yield Problem("range", f'is required with dhcp = "server": {expected}')
            return
        ends = [_ipv4(address) for address in self.range]
        if len(ends) != 2 or ends[0] is None or ends[1] is None:
            yield Problem("range", f"expected {expected}, as IPv4, got {shown(list(self.range))}")
        elif ends[0] > ends[1]:
            yield Problem("range", f"{ends[0]} comes after {ends[1]}: expected {expected}")

    def _lease_problems(self) -> Iterator[Problem]:
        found = _LEASE.fullmatch(self.lease)
        minutes = int(found[1]) * (60 if found[2] == "h" else 1) if found else 0
        if not _LEAST_LEASE <= minutes <= _LONGEST_LEASE:
            expected = 'minutes or hours, such as "30m" or "12h", from 2m to a year'
            yield Problem("lease", f"expected {expected}, got {shown(self.lease)}")


def _ipv4(address: str) -> ipaddress.IPv4Address | None:
    made = ipaddress.ip_address(address)
    return made if isinstance(made, ipaddress.IPv4Address) else None
