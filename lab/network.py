"""A network with the addresses of Terra's documentation."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from lab.advertisement import advertise
from lab.namespace import Namespace
from terra_core.system.process import run
from terra_core.system.undo import Undo

GATEWAY = "10.0.10.1"
CONTROLLER = "10.0.10.3"
ISCSI = "10.0.10.4"
PREFIX = 24
BRIDGE = "br0"

_LINK_LOCAL = "fe80::1"


class Network(Namespace):
    """A network namespace with the bridge ``br0``, which has the gateway's, the controller's and the iSCSI address.

    :param name: a word; the namespace's name adds the process id to it.
    :param addresses: what the bridge has; the first one is where connections to elsewhere come from.
    """

    def __init__(self, name: str = "network", *, addresses: Sequence[str] = (GATEWAY, CONTROLLER, ISCSI)) -> None:
        super().__init__(name)
        self._addresses = addresses

    def furnish(self, resources: ExitStack) -> None:
        """Make the bridge."""
        # A port of the bridge would wait 15 seconds before it passes packets: longer than boot firmware asks for. Without an
        # address of its own it has the least one of its ports, and who knew it by that reaches nobody once that port is gone.
        own = ":".join(f"{byte:02x}" for byte in (2, *secrets.token_bytes(5)))
        self.ip("link", "add", BRIDGE, "address", own, "type", "bridge", "forward_delay", "0")
        for address in self._addresses:
            self.ip("address", "add", f"{address}/{PREFIX}", "dev", BRIDGE)
        self.ip("address", "add", f"{_LINK_LOCAL}/64", "dev", BRIDGE, "nodad")
        self.ip("link", "set", BRIDGE, "up")
        with self.inside():
            resources.enter_context(advertise(BRIDGE))

    @contextmanager
    def tap(self, name: str) -> Iterator[str]:
        """Make a tap device on the bridge, for a virtual machine; yield its name, of 15 characters at most."""
        with Undo() as resources:
            self.ip("tuntap", "add", "dev", name, "mode", "tap")
            resources.callback(self.ip, "link", "delete", name)
            self.ip("link", "set", name, "master", BRIDGE)
            self.ip("link", "set", name, "up")
            yield name

    @contextmanager
    def wire(self, name: str, namespace: str) -> Iterator[None]:
        """Lay a wire from the bridge to ``eth0`` of another namespace.

        :param name: of the end at the bridge, of 15 characters at most.
        """
        with Undo() as resources:
            self.ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", namespace)
            # The kernel removes its end some time after the namespace: another wire of that name may be made before.
            resources.callback(run, ["ip", "-n", self.name, "link", "delete", name], accept=(0, 1))
            self.ip("link", "set", name, "master", BRIDGE, "up")
            yield

    def connect(self, host: str, port: int, *, timeout: float = 5) -> socket.socket:
        """Return a TCP connection made in the namespace.

        :param timeout: for the connection and for what is read from it later, in seconds.
        :raises OSError: when nobody answers.
        """
        with self.inside():
            return socket.create_connection((host, port), timeout)
