"""Who is connected to targets. nbdkit does not tell; the kernel knows the connections of its ports, by ss(8)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from attrs import frozen

from terra_core.config.session import Session
from terra_core.hookspecs import Connected
from terra_core.system.packages import name_packages
from terra_core.system.process import run
from terra_core.system.reading import lines_of
from terra_nbd.servers import Servers

name_packages({"ss": "iproute2"})

_CONNECTION = re.compile(r"\d+ +\d+ +\S+:(\d+) +\[?(?:::ffff:)?([0-9a-f.:]+?)(?:%\w+)?\]?:\d+ *")
_SENT = re.compile(r"\bbytes_sent:(\d+)")
_LEAST = 16 * 1024
"""Bytes: who has no key of a target is sent a few hundred before the server hangs up, and a machine reads more at once."""
_SECONDS = 60


@frozen
class Connection:
    """A TCP connection.

    :param port: the port here.
    :param address: where it comes from.
    :param sent: how many bytes were sent there.
    """

    port: int
    address: str
    sent: int


def find_connected(session: Session) -> dict[int, tuple[Connected, ...]]:
    """Return who has read from each target, by its number, and is connected still; also those that were given up since."""
    targets = {server.port: name for name, servers in Servers.look(session).running.items() for server in servers}
    if not targets:
        return {}
    found: dict[int, tuple[Connected, ...]] = {}
    for one in parse_connections(run(["ss", "-tinH", "state", "established"], timeout=_SECONDS).text):
        identity = targets.get(one.port, "")
        number = identity.rpartition(".")[2]
        if number.isdecimal() and one.sent >= _LEAST:
            found[int(number)] = (*found.get(int(number), ()), Connected(name=identity, address=one.address))
    return found


def parse_connections(text: str) -> Iterator[Connection]:
    """Yield the connections of ``ss -tinH state established``: two lines each."""
    ends: tuple[int, str] | None = None
    for line in lines_of(text):
        if found := _CONNECTION.fullmatch(line):
            ends = (int(found[1]), found[2])
        elif ends is not None:
            sent = _SENT.search(line)
            yield Connection(*ends, int(sent[1]) if sent else 0)
            ends = None
