"""A DHCP server on a network of the lab."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from iso.daemons import start, wait_ready
from lab.network import BRIDGE, GATEWAY, Network
from lab.place import Place
from terra_core.system.process import Daemon
from terra_core.system.undo import Undo


class DhcpServer:
    """dnsmasq, which gives addresses on the bridge and forgets none while it lives.

    :param network: where it serves.
    :param first: the first address that it gives.
    :param last: the last one.
    :param names: the name servers that it tells of; none when left out.
    """

    def __init__(
        self, network: Network, first: str = "10.0.10.100", last: str = "10.0.10.149", names: Sequence[str] = ()
    ) -> None:
        self._network = network
        self._names = tuple(names)
        self._range = (first, last)
        self._place = Place("dhcp")
        self._resources = Undo()
        self.daemon: Daemon | None = None

    @property
    def leases(self) -> Path:
        """The file of its leases."""
        return self._place.path / "leases"

    def __enter__(self) -> Self:
        with Undo() as resources:
            resources.enter_context(self._place)
            self.start()
            resources.callback(self.stop)
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        self._resources.unwind(failure)

    def start(self) -> None:
        """Start it, with the leases that it had."""
        words = [
            *("dnsmasq", "--keep-in-foreground", "--port=0", "--log-dhcp", "--conf-file=/dev/null", "--user=root"),
            *(f"--interface={BRIDGE}", "--bind-interfaces", f"--dhcp-range={self._range[0]},{self._range[1]},2m"),
            *(f"--dhcp-option=option:router,{GATEWAY}", "--log-facility=-", f"--dhcp-leasefile={self.leases}"),
            *("--dhcp-authoritative", f"--pid-file={self._place.path / 'pid'}", "--no-ping"),
            *([f"--dhcp-option=option:dns-server,{','.join(self._names)}", "--domain=lab.test"] if self._names else []),
        ]
        daemon = self.daemon = start(self._network.command(words), log=self._place.path / "dnsmasq.log")
        wait_ready(daemon, lambda: "IP range" in daemon.tail(50), seconds=60, what="dnsmasq to serve")

    def stop(self) -> None:
        """End it."""
        if self.daemon is not None:
            self.daemon.stop()
            self.daemon = None

    def held(self) -> set[str]:
        """Return the addresses that are leased."""
        if not self.leases.exists():
            return set()
        return {line.split()[2] for line in self.leases.read_text().splitlines() if line[:1].isdigit()}
