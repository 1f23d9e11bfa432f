"""A network namespace with the addresses of Terra's documentation."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from lab.advertisement import advertise
from lab.place import NAMESPACES, Place
from lab.processes import Process, end, gone, in_namespace
from terra_core.errors import TerraError
from terra_core.system.namespaces import in_network
from terra_core.system.process import Argument, run

GATEWAY = "10.0.10.1"
CONTROLLER = "10.0.10.3"
ISCSI = "10.0.10.4"
PREFIX = 24
BRIDGE = "br0"

_LINK_LOCAL = "fe80::1"
_LAST_MOMENTS = 5.0


class Network:
    """A network namespace: loopback, and the bridge ``br0`` with the gateway's, the controller's and the iSCSI address.

    It has no way out, to the host or further. Leaving removes it; what still runs in it is ended and reported.

    :param name: a word; the namespace's name adds the process id to it.
    """

    def __init__(self, name: str = "network") -> None:
        self._place = Place(name)
        self._resources = ExitStack()

    @property
    def name(self) -> str:
        """The namespace's name, as ``ip netns`` knows it."""
        return self._place.name

    @property
    def path(self) -> Path:
        """The file that the namespace is bound to."""
        return NAMESPACES / self.name

    def __enter__(self) -> Self:
        with ExitStack() as resources:
            resources.enter_context(self._place)
            resources.callback(self._delete)
            run(["ip", "netns", "add", self.name])
            resources.callback(self._expect_empty)
            self._ip("link", "set", "lo", "up")
            # A port of the bridge would wait 15 seconds before it passes packets: longer than boot firmware asks for.
            self._ip("link", "add", BRIDGE, "type", "bridge", "forward_delay", "0")
            for address in (GATEWAY, CONTROLLER, ISCSI):
                self._ip("address", "add", f"{address}/{PREFIX}", "dev", BRIDGE)
            self._ip("address", "add", f"{_LINK_LOCAL}/64", "dev", BRIDGE, "nodad")
            self._ip("link", "set", BRIDGE, "up")
            with self.inside():
                resources.enter_context(advertise(BRIDGE))
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        self._resources.close()

    def command(self, args: Sequence[Argument]) -> list[str]:
        """The arguments that run ``args`` in the namespace.

        ``ip netns exec`` would give the program mounts of its own: a /sys without control groups, which dockerd needs,
        and mounts that nobody else sees.
        """
        return ["nsenter", f"--net={self.path}", "--", *(os.fspath(word) for word in args)]

    @contextmanager
    def tap(self, name: str) -> Iterator[str]:
        """A tap device on the bridge, for a virtual machine; gives its name, of 15 characters at most."""
        with ExitStack() as resources:
            self._ip("tuntap", "add", "dev", name, "mode", "tap")
            resources.callback(self._ip, "link", "delete", name)
            self._ip("link", "set", name, "master", BRIDGE)
            self._ip("link", "set", name, "up")
            yield name

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Put the calling thread into the namespace: sockets, programs and threads that it makes meanwhile are there.

        A socket stays where it was made, also after this ends. Other threads are not moved.
        """
        with in_network(self.path):
            yield

    def connect(self, host: str, port: int, *, timeout: float = 5) -> socket.socket:
        """A TCP connection made in the namespace.

        :param timeout: for the connection and for what is read from it later, in seconds.
        :raises OSError: when nobody answers.
        """
        with self.inside():
            return socket.create_connection((host, port), timeout)

    def processes(self) -> list[Process]:
        """What runs in the namespace; a thread that is :meth:`inside` does not count."""
        return in_namespace(self.path)

    def _delete(self) -> None:
        if self.path.exists():
            run(["ip", "netns", "delete", self.name])

    def _ip(self, *words: str) -> None:
        run(["ip", "-n", self.name, *words])

    def _expect_empty(self) -> None:
        left = self.processes()
        if gone(left, seconds=_LAST_MOMENTS):
            return
        left = [process for process in left if process.alive]
        end(left)
        names = ", ".join(f"{process.pid} ({process.command})" for process in left)
        raise TerraError(f"still running when the network {self.name} was taken down, and ended now: {names}")

