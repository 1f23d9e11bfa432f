"""What DHCP keeps for provisioned machines: a name, and an address of their own. Pure: nothing here reads or writes a file."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from functools import lru_cache
from ipaddress import IPv4Address
from itertools import chain

from attrs import frozen

from terra_core.config.values import Address, Hostname, Mac
from terra_core.system.reading import lines_of

_DOMAIN = "terra"
"""Ends the name in a reservation; machines are told the first label alone."""
_LEASED = re.compile(r"^\d+ \S+ (\S+) ", re.MULTILINE)
"""The address of a lease. To make a :class:`Lease` of each of ten thousand takes ten times as long."""


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
    first, last = int(given.first), int(given.last)
    used = {int(address) for address in taken}  # numbers, as there may be ten thousand and an IPv4Address is slow
    found: dict[Mac, Address] = {}

    def take(mac: Mac, number: int | None) -> None:
        if mac not in found and number is not None and first <= number <= last and number not in used:
            found[mac] = _address(number)
            used.add(number)

    for mac in wanted:
        if mac in held:
            take(mac, _number(held[mac]))
    by_expiry = [(lease.mac, int(lease.address)) for lease in sorted(leases, key=lambda lease: (lease.expiry, lease.address))]
    own = set(wanted)
    for leased_by, number in reversed(by_expiry):
        if leased_by in own:
            take(Mac(leased_by), number)
    leased = {number for _, number in by_expiry}
    # A range may be very large: iterate no further than needed.
    unused = chain(
        (number for number in range(first, last + 1) if number not in used and number not in leased),
        (number for _, number in by_expiry if first <= number <= last and number not in used),
    )
    for mac in wanted:
        if mac not in found:
            take(mac, next(unused, None))
    return found


def free_address(mac: Mac, given: AddressRange, taken: Collection[str], leases: str) -> Address | None:
    """Return the address that :func:`assigned` gives to one machine more, where that is seen without a look at all others.

    :param taken: what other machines have, and what no machine can get.
    :param leases: dnsmasq's lease file.
    :returns: ``None`` when the machine has leased an address already, or every free one is leased.
    """
    if f" {mac} " in leases.lower():
        return None
    leased = set(_LEASED.findall(leases))
    addresses = map(_address, range(int(given.first), int(given.last) + 1))
    return next((one for one in addresses if one not in taken and one not in leased), None)


@lru_cache(maxsize=1 << 16)
def _number(address: Address) -> int:
    return int(IPv4Address(address))


@lru_cache(maxsize=1 << 16)
def _address(number: int) -> Address:
    return Address(str(IPv4Address(number)))


def parse_addresses(text: str | None) -> dict[Mac, Address]:
    """Parse the output of :func:`addresses_text`; text that cannot be read holds no addresses."""
    try:
        raw = json.loads(text or "{}")
        return {Mac(mac): _address(_number(address)) for mac, address in raw.items()}
    except (ValueError, AttributeError, TypeError):
        return {}


def addresses_text(addresses: Mapping[Mac, Address]) -> str:
    """Return the assigned addresses as they are stored."""
    ordered = sorted(addresses.items(), key=lambda item: _number(item[1]))
    return json.dumps(dict(ordered), separators=(",\n ", ": ")) + "\n"  # indent= is written in Python, and slow
