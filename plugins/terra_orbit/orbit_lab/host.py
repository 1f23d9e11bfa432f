"""A host on a network of the lab: a network namespace of its own with one wire to the network's bridge."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from lab.network import BRIDGE, GATEWAY, PREFIX, Network
from lab.place import NAMESPACES, Place
from lab.processes import Process, end, gone, in_namespace
from terra_core.errors import TerraError
from terra_core.system.namespaces import in_network
from terra_core.system.process import Argument, run

_LAST_MOMENTS = 5.0


class Host:
    """A network namespace whose ``eth0`` is on a network's bridge, with a default route through the network's gateway.

    Leaving removes it; what still runs in it is ended and reported.

    :param network: where it is connected.
    :param address: its own address there.
    """

    def __init__(self, network: Network, address: str) -> None:
        self.network = network
        self.address = address
        self._place = Place("host")
        self._resources = ExitStack()

    @property
    def path(self) -> Path:
        """The file that the namespace is bound to."""
        return NAMESPACES / self._place.name

    def __enter__(self) -> Self:
        with ExitStack() as resources:
            name = resources.enter_context(self._place).name
            resources.callback(self._delete)
            run(["ip", "netns", "add", name])
            resources.callback(self._expect_empty)
            wire = f"h{self.address.replace('.', '')}"[:15]
            run(["ip", "-n", self.network.name, "link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", name])
            # The kernel takes its end away with the namespace, at its leisure: a host of the same address may come before that.
            resources.callback(run, ["ip", "-n", self.network.name, "link", "delete", wire], accept=(0, 1))
            run(["ip", "-n", self.network.name, "link", "set", wire, "master", BRIDGE, "up"])
            self._ip("link", "set", "lo", "up")
            self._ip("address", "add", f"{self.address}/{PREFIX}", "dev", "eth0")
            self._ip("link", "set", "eth0", "up")
            self._ip("route", "add", "default", "via", GATEWAY)
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        self._resources.close()

    def command(self, args: Sequence[Argument]) -> list[str]:
        """The arguments that run ``args`` on the host."""
        return ["nsenter", f"--net={self.path}", "--", *(os.fspath(word) for word in args)]

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Put the calling thread on the host."""
        with in_network(self.path):
            yield

    def links(self) -> set[str]:
        """The network interfaces that the host has."""
        shown = run(["ip", "-n", self._place.name, "-oneline", "link", "show"]).text
        return {line.split(": ")[1].partition("@")[0] for line in shown.splitlines()}

    def processes(self) -> list[Process]:
        """What runs on the host."""
        return in_namespace(self.path)

    def _ip(self, *words: str) -> None:
        run(["ip", "-n", self._place.name, *words])

    def _delete(self) -> None:
        if self.path.exists():
            run(["ip", "netns", "delete", self._place.name])

    def _expect_empty(self) -> None:
        left = self.processes()
        if gone(left, seconds=_LAST_MOMENTS):
            return
        left = [process for process in left if process.alive]
        end(left)
        names = ", ".join(f"{process.pid} ({process.command})" for process in left)
        raise TerraError(f"still running when the host {self.address} was taken down, and ended now: {names}")


def reaches(place: Host | Network, address: str) -> bool:
    """Whether an address answers there, even if only to say that nobody serves."""
    with place.inside():
        try:
            socket.create_connection((address.partition("/")[0], 9), timeout=5).close()
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return True
