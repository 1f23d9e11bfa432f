"""What DHCP keeps for provisioned machines: a name, and an address of their own. Pure: nothing here reads or writes a file."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from ipaddress import IPv4Address
from itertools import chain

from attrs import frozen

from terra_core.config.values import Address, Hostname, Mac
from terra_core.system.reading import lines_of

_DOMAIN = "terra"
"""Ends the name in a reservation; machines are told the first label alone."""


def reservation(hostname: Hostname, mac: Mac, address: Address | None, lease: str) -> str:
    """Return the value of ``dhcp-host`` for a machine: DHCP tells it its name, without the domain.

    dnsmasq guesses the meaning of each word: ``7d`` is a lease time, ``ignore`` a command, ``10.0.0.5`` an address. A name that
    ends in a domain can only be a name.

    :param address: the address that it gets, if DHCP gives out any.
    :param lease: how long it gets it for.
    """
    words = [mac, *([address] if address else []), f"{hostname}.{_DOMAIN}", lease]
    return ",".join(words) + "\n"


@frozen
class AddressRange:
    """The addresses that DHCP gives out, both ends included.

    Provisioned machines get theirs from the first upwards, so that however many others ask, addresses for them are left.
    """

    first: IPv4Address
    last: IPv4Address

    @classmethod
    def parse(cls, ends: Sequence[Address]) -> AddressRange:
        """Return the range between two IPv4 addresses."""
        first, last = (IPv4Address(end) for end in ends)
        return cls(first, last)

    @property
    def size(self) -> int:
        """The number of addresses."""
        return int(self.last) - int(self.first) + 1

    @property
    def of_strangers(self) -> IPv4Address:
        """The first address for machines that are not provisioned: they get the upper half."""
        return self.first + self.size // 2

    def __contains__(self, address: IPv4Address) -> bool:
        return self.first <= address <= self.last

    def __iter__(self) -> Iterator[IPv4Address]:
        return (self.first + at for at in range(self.size))


@frozen
class Lease:
    """An address that was given out.

    :param mac: to whom.
    :param address: the address.
    :param expiry: until when, in seconds since 1970; infinite for one that is given for ever.
    """

    mac: str
    address: IPv4Address
    expiry: float


def leases_of(text: str) -> list[Lease]:
    """Return the leases of IPv4 in dnsmasq's lease file (dnsmasq(8), dhcp-leasefile); lines of another form are ignored."""
    found = []
    for line in lines_of(text):
        words = line.split()
        try:
            expiry, mac, address = float(words[0]), words[1].lower(), IPv4Address(words[2])
        except (IndexError, ValueError):
            continue
        found.append(Lease(mac, address, expiry or float("inf")))
    return found


def assigned(
    macs: Iterable[Mac],
    given: AddressRange,
    held: Mapping[Mac, Address],
    leases: Sequence[Lease],
    taken: Set[IPv4Address],
) -> dict[Mac, Address]:
    """Assign an address to every machine, as long as there are any.

    A machine keeps its address, by reservation or else by lease: its disk may depend on it. A new machine gets the first free
    address; when all are leased, the one that becomes free first.

    :param macs: the machines, those that came first before those that came later.
    :param held: what was assigned before.
    :param leases: what was given out, also to others.
    :param taken: what no machine can get.
    """
    wanted = list(dict.fromkeys(macs))
    used = set(taken)
    found: dict[Mac, Address] = {}

    def take(mac: Mac, address: IPv4Address | None) -> None:
        if mac not in found and address is not None and address in given and address not in used:
            found[mac] = Address(str(address))
            used.add(address)

    for mac in wanted:
        if mac in held:
            take(mac, IPv4Address(held[mac]))
    by_expiry = sorted(leases, key=lambda lease: (lease.expiry, lease.address))
    own = set(wanted)
    for lease in reversed(by_expiry):
        if lease.mac in own:
            take(Mac(lease.mac), lease.address)
    leased = {lease.address for lease in leases}
    # A range may be very large: iterate no further than needed.
    unused = chain(
        (address for address in given if address not in used and address not in leased),
        (lease.address for lease in by_expiry if lease.address in given and lease.address not in used),
    )
    for mac in wanted:
        if mac not in found:
            take(mac, next(unused, None))
    return found


def parse_addresses(text: str | None) -> dict[Mac, Address]:
    """Parse the output of :func:`addresses_text`; text that cannot be read holds no addresses."""
    try:
        raw = json.loads(text or "{}")
        return {Mac(mac): Address(str(IPv4Address(address))) for mac, address in raw.items()}
    except (ValueError, AttributeError):
        return {}


def addresses_text(addresses: Mapping[Mac, Address]) -> str:
    """Return the assigned addresses as they are stored."""
    ordered = sorted(addresses.items(), key=lambda item: ipaddress.ip_address(item[1]))
    return json.dumps(dict(ordered), indent=1) + "\n"
