"""What the log of dnsmasq(8) says of machines. Pure, but for the neighbours that the kernel knows.

::

    Nov 26 07:26:01 dnsmasq-dhcp[30133]: DHCPACK(br0) 10.0.10.50 02:00:00:00:00:07 cm-01
    Nov 26 07:26:02 dnsmasq-tftp[30133]: sent /srv/tftp/pxelinux.0 to 10.0.10.50

Names that clients send stand in the middle of lines alone, without the characters that are not printable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path, PurePosixPath

from attrs import Factory, frozen

from terra_core.config.values import Mac
from terra_core.hookspecs import Sighting
from terra_core.system.reading import lines_of

_LINE = re.compile(r"([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) dnsmasq-(?:dhcp|tftp)\[\d+\]: (.*)")
_ADDRESS = r"(\d+\.\d+\.\d+\.\d+)"
_DHCP = re.compile(rf"(DHCP[A-Z]+|PXE)\([^)]*\) (?:{_ADDRESS} )?((?:[0-9a-f]{{2}}:){{5}}[0-9a-f]{{2}})(?: (.*))?")
_SENT = re.compile(rf"(sent|failed sending) (/.*) to {_ADDRESS}")
_ABORTED = re.compile(rf"error \d+ .*received from {_ADDRESS}")
_MENU = re.compile(r"/(?:01-)?((?:[0-9a-f]{2}[-:]){5}[0-9a-f]{2})(?:\.[a-z]+)?")
_SAID = {
    "DHCPDISCOVER": "asks for an address{note}",
    "DHCPACK": "has the address {address}",
    "DHCPNAK": "may not have the address {address}{note}",
    "DHCPDECLINE": "does not take the address {address}, which somebody else has",
    "DHCPRELEASE": "gives up the address {address}",
    "PXE": "is told what to boot",
}
"""What else passes between client and server belongs to one of these."""
_DAY = timedelta(days=1)
_NEIGHBOURS = Path("/proc/net/arp")
_HARDWARE = 3
_NOBODY = "00:00:00:00:00:00"


@frozen
class Owners:
    """Whose addresses and files are.

    :param addresses: the machines that have addresses now.
    :param directories: the machines by the directories of their files, where an address that nobody is known to have may be
        that of the machine whose file it is sent; empty where it may not.
    """

    addresses: Mapping[str, Mac]
    directories: Mapping[str, Mac] = Factory(dict)

    def of(self, address: str, path: str) -> Mac | None:
        """Return the machine that was sent a file; ``None`` when that is not known."""
        known = self.addresses.get(address)
        if known is not None or not self.directories:
            return known
        menu = _MENU.fullmatch(path, path.rfind("/"))
        return Mac(menu[1].replace("-", ":")) if menu else self.directories.get(PurePosixPath(path).parent.name)


def sightings(lines: Iterable[str], root: Path, owners: Owners, now: float) -> Iterator[Sighting]:
    """Yield what lines of dnsmasq's log say of machines.

    :param root: the directory that is served by TFTP.
    :param now: the time, in seconds since 1970: the lines have no year.
    """
    aborted = set[str]()
    for line in lines:
        if (found := _LINE.fullmatch(line)) is None:
            continue
        at, said = min(_time_of(found[1], now), now), found[2]
        if found := _DHCP.fullmatch(said):
            kind, address, mac, note = found[1], found[2] or "", found[3], found[4]
            if kind in _SAID:
                text = _SAID[kind].format(address=address, note=f": {note}" if note else "")
                yield Sighting(mac=Mac(mac), time=at, text=text, address=address if kind == "DHCPACK" else "")
        elif found := _ABORTED.fullmatch(said):  # firmware asks for the size of a file so, before it asks for the file
            aborted.add(found[1])
        elif found := _SENT.fullmatch(said):
            path, address = found[2], found[3]
            owner = owners.of(address, path)
            if address in aborted:
                aborted.discard(address)
            elif owner is not None:
                name = name_of(path.removeprefix(f"{root}/"))
                text = f"is sent {name}" if found[1] == "sent" else f"does not take {name} to its end"
                yield Sighting(mac=owner, time=at, text=text, address=address, file=name)


def name_of(path: str) -> str:
    """Return what a file is called in a log; the directories of machines may have secret names.

    :param path: its path in the boot tree.
    """
    return PurePosixPath(path).name if path.startswith("nodes/") else path


def neighbours(path: Path = _NEIGHBOURS) -> Mapping[str, Mac]:
    """Return the hardware addresses of those whom this machine has talked to lately, by their addresses (arp(7))."""
    with suppress(OSError):
        rows = [line.split() for line in lines_of(path.read_text())[1:]]
        return {row[0]: Mac(row[_HARDWARE]) for row in rows if len(row) > _HARDWARE and row[_HARDWARE] != _NOBODY}
    return {}


@lru_cache(maxsize=64)
def _local(text: str, year: int) -> datetime | None:
    try:
        return datetime.strptime(f"{year} {text}", "%Y %b %d %H:%M:%S").astimezone()  # dnsmasq writes local time
    except ValueError:
        return None


def _time_of(text: str, now: float) -> float:
    """Return the time of a line: the last one with this date that is not to come; the present one for what is no date."""
    today = datetime.fromtimestamp(now, UTC)
    for year in (today.year + 1, today.year, today.year - 1):
        at = _local(text, year)
        if at is not None and at < today + _DAY:
            return at.timestamp()
    return now
