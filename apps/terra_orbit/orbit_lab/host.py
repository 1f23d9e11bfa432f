"""A host on a network of the lab: a network namespace of its own with one wire to the network's bridge."""

from __future__ import annotations

import socket
from contextlib import ExitStack

from lab.namespace import Namespace
from lab.network import GATEWAY, PREFIX, Network


class Host(Namespace):
    """A network namespace whose ``eth0`` is on a network's bridge, with a default route through the network's gateway.

    :param network: where it is connected.
    :param address: its own address there.
    """

    def __init__(self, network: Network, address: str) -> None:
        super().__init__("host")
        self.network = network
        self.address = address

    def furnish(self, resources: ExitStack) -> None:
        """Lay the wire."""
        resources.enter_context(self.network.wire(f"h{self.address.replace('.', '')}"[:15], self.name))
        self.ip("address", "add", f"{self.address}/{PREFIX}", "dev", "eth0")
        self.ip("link", "set", "eth0", "up")
        self.ip("route", "add", "default", "via", GATEWAY)

    def links(self) -> set[str]:
        """Return the network interfaces that the host has."""
        return {line.split(": ")[1].partition("@")[0] for line in self.ip("-oneline", "link", "show").splitlines()}


def reaches(place: Namespace, address: str) -> bool:
    """Return whether an address answers there, even if only to refuse the connection."""
    with place.inside():
        try:
            socket.create_connection((address.partition("/")[0], 9), timeout=5).close()
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return True
