"""Where the network boot service listens."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Sequence

from attrs import frozen

from terra_core.config.values import Address
from terra_core.errors import TerraError
from terra_core.system.process import run
from terra_tftp.settings import Dhcp, Settings

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@frozen
class Listening:
    """An address of this machine.

    :param address: the address.
    :param interface: the interface that has it.
    :param network: the network that it is in.
    """

    address: Address
    interface: str
    network: Network


def find_listening(wanted: Address, settings: Settings) -> Listening:
    """Return the address of this machine that the service answers on.

    :param wanted: the controller's address.
    :raises TerraError: when this machine has no such address, or it does not fit what the settings ask for.
    """
    found = choose(addresses(run(["ip", "-json", "address", "show"]).stdout), wanted, settings.interface, settings.table)
    check_dhcp(found, settings)
    return found


def addresses(output: bytes) -> list[Listening]:
    """Return the addresses in the output of ``ip -json address show``."""
    found = []
    for link in json.loads(output):
        for entry in link.get("addr_info", ()):
            network = ipaddress.ip_network(f"{entry['local']}/{entry['prefixlen']}", strict=False)
            found.append(Listening(Address(entry["local"]), link["ifname"], network))
    return found


def choose(own: Sequence[Listening], wanted: Address, interface: str | None, table: str = "tftp") -> Listening:
    """Choose one of a machine's own addresses: the wanted one, on ``interface`` if that is given, or that interface's first."""
    usable = [each for each in own if interface in (None, each.interface)]
    found = next((each for each in usable if each.address == wanted), None)
    if found is None and interface is not None:
        found = next((each for each in usable if each.network.version == ipaddress.ip_address(wanted).version), None)
        if found is None:
            raise TerraError(
                f"[{table}] interface: {interface} has no address, or is no interface of this machine",
                hint="see `ip address`, and give the interface that the machines are reached on",
            )
    if found is None:
        raise TerraError(
            f"the network boot service cannot answer on {wanted}: it is not an address of this machine",
            hint=f"give `terra --controller` an address that `ip address` lists, or name an interface in [{table}]",
        )
    return found


def check_dhcp(listening: Listening, settings: Settings) -> None:
    """Refuse an address that machines cannot boot from, and DHCP on one that it can't work on."""
    where = f"{listening.address} ({listening.interface})"
    if not isinstance(listening.network, ipaddress.IPv4Network):
        raise TerraError(
            f"machines boot over the network by IPv4, and the service would answer on {where}",
            hint="give `terra --controller` an IPv4 address",
        )
    if settings.dhcp is Dhcp.OFF:
        return
    if listening.network.is_loopback:
        key = f'[{settings.table}] dhcp = "{settings.dhcp.value}"'
        raise TerraError(
            f"{key} needs an address that machines reach, and the service answers on {where}",
            hint="give `terra --controller` the address of the network that machines boot from",
        )
    outside = [end for end in settings.range if ipaddress.ip_address(end) not in listening.network]
    if settings.dhcp is Dhcp.SERVER and outside:
        raise TerraError(
            f"[{settings.table}] range: {', '.join(outside)} is outside of {listening.network}, the network of {where}",
            hint="give a range of addresses of that network that nothing else uses",
        )
