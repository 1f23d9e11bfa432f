"""The file of reservations that dnsmasq reads, and the addresses in it, which are kept in the boot tree."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from ipaddress import IPv4Address
from pathlib import Path

from terra_core.config.values import Address, Hostname, Mac
from terra_tftp.configuration import ServicePaths
from terra_tftp.files import make_directory, read_file, remove_file, write_file
from terra_tftp.reservations import (
    AddressRange,
    addresses_text,
    assigned,
    free_address,
    leases_of,
    parse_addresses,
    reservation,
)
from terra_tftp.settings import Dhcp, Settings

_FEW = 20
"""So many machines get their addresses one by one; of more, all addresses are assigned anew."""
_PRIVATE = 0o600


class ReservationFile:
    """The reservations of all machines. What is in the file is kept in memory, for as long as nobody else writes to it.

    :param paths: where the files are.
    """

    def __init__(self, paths: ServicePaths) -> None:
        self._paths = paths
        self._made_for: tuple[Settings, frozenset[IPv4Address]] | None = None
        self._left: tuple[int, ...] = ()
        self._machines: dict[Hostname, Mac] = {}
        self._addresses: dict[Mac, Address] = {}
        self._lines: dict[Hostname, str] = {}
        self._lacking = False  # whether there was no address left for a machine

    def __len__(self) -> int:
        return len(self._lines)

    def addresses(self) -> Mapping[Mac, Address]:
        """Return the addresses that are kept for machines."""
        return self._addresses if self._left else self._kept()[0]

    @property
    def is_of_others(self) -> bool:
        """Whether somebody else has written either file since this one did."""
        return self._left != () and self._found() != self._left

    def names(self, hostname: Hostname) -> bool:
        """Return whether a machine had a reservation when the file was written last."""
        return hostname in self._machines

    def holds(self, hostname: Hostname, mac: Mac, settings: Settings, own: frozenset[IPv4Address]) -> bool:
        """Return whether the file has the reservation of a machine, without a look at those of all others."""
        return self._machines.get(hostname) == mac and not self._lacking and self._is_as_left(settings, own)

    def bring(self, machines: Mapping[Hostname, Mac], settings: Settings, own: frozenset[IPv4Address]) -> bool:
        """Reserve for these machines and no others; return whether dnsmasq has something to read.

        A machine keeps its address; one for which there is none left gets a reservation of its name alone.

        :param own: addresses that no machine can get.
        """
        if self._lacking or not self._is_as_left(settings, own):
            return self._make(machines, settings, own)
        if machines == self._machines:
            return False  # asked every few seconds
        gone = [name for name in self._machines if name not in machines]
        new = {name: mac for name, mac in machines.items() if self._machines.get(name) != mac}
        if len(new) > _FEW:
            return self._make(machines, settings, own)
        self._left = ()  # what fails half-way is made anew
        self._drop([*gone, *new])
        self._machines.update(new)
        self._assign(new.values(), settings, own)
        self._lines.update(self._rendered(new, settings))
        return self._write(settings)

    def _make(self, machines: Mapping[Hostname, Mac], settings: Settings, own: frozenset[IPv4Address]) -> bool:
        self._left, self._made_for = (), (settings, own)
        self._machines, self._addresses = dict(machines), {}
        if settings.dhcp is Dhcp.SERVER:
            held, here = self._kept()
            self._addresses = assigned(machines.values(), _range(settings), held, leases_of(self._leases()), own)
            if not here or self._addresses != held:
                self._keep_addresses()
        self._lines = self._rendered(machines, settings)
        return self._write(settings)

    def _rendered(self, machines: Mapping[Hostname, Mac], settings: Settings) -> dict[Hostname, str]:
        return {name: reservation(name, mac, self._addresses.get(mac), settings.lease) for name, mac in machines.items()}

    def _drop(self, names: Iterable[Hostname]) -> None:
        for name in names:
            self._machines.pop(name, None)
            self._lines.pop(name, None)

    def _assign(self, macs: Collection[Mac], settings: Settings, own: frozenset[IPv4Address]) -> None:
        """Give machines their addresses, also those of machines that went; each keeps the one that it has."""
        if settings.dhcp is not Dhcp.SERVER:
            return
        present = set(self._machines.values())
        self._addresses = {mac: address for mac, address in self._addresses.items() if mac in present}
        lacking = [mac for mac in macs if mac not in self._addresses]
        if not lacking:
            return
        leases, given = self._leases(), _range(settings)
        for mac in lacking:
            address = free_address(mac, given, {*self._addresses.values(), *map(str, own)}, leases)
            if address is not None:
                self._addresses[mac] = address
            else:
                self._addresses = assigned([*self._addresses, mac], given, self._addresses, leases_of(leases), own)
        self._keep_addresses()

    def _kept(self) -> tuple[dict[Mac, Address], bool]:
        """Return the addresses that are kept, and whether they are where they belong."""
        text = read_file(self._paths.addresses)
        if text is not None:
            return parse_addresses(text), True
        return parse_addresses(read_file(self._paths.former_addresses)), False

    def _keep_addresses(self) -> None:
        make_directory(self._paths.addresses.parent)
        # What is in the boot tree is sent to everybody, but for what its service may not read.
        write_file(self._paths.addresses, addresses_text(self._addresses), mode=_PRIVATE)
        remove_file(self._paths.former_addresses)

    def _write(self, settings: Settings) -> bool:
        self._lacking = settings.dhcp is Dhcp.SERVER and not self._addresses.keys() >= set(self._machines.values())
        make_directory(self._paths.directory)
        changed = write_file(self._paths.reservations, "".join(self._lines.values()))
        self._left = self._found()
        return changed

    def _is_as_left(self, settings: Settings, own: frozenset[IPv4Address]) -> bool:
        return self._made_for == (settings, own) and self._left != () and self._found() == self._left

    def _found(self) -> tuple[int, ...]:
        """Return what tells both files from those that somebody else has written; nothing where there are no reservations."""
        return (*own, *_identity(self._paths.addresses)) if (own := _identity(self._paths.reservations)) else ()

    def _leases(self) -> str:
        return read_file(self._paths.leases) or ""


def _identity(path: Path) -> tuple[int, ...]:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _range(settings: Settings) -> AddressRange:
    return AddressRange.parse(settings.range)
