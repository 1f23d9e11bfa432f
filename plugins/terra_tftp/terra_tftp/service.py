"""The network boot service: a dnsmasq that outlives the controller."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from terra_core.config.controller import Places
from terra_core.config.values import Hostname, Mac
from terra_core.errors import TerraError
from terra_core.hookspecs import BootNetwork, NodeBoot
from terra_core.system.process import Daemon
from terra_core.system.waiting import wait_until
from terra_tftp.access import check_reachable, find_user
from terra_tftp.configuration import ServicePaths, configuration, reservation
from terra_tftp.files import make_directory, make_private_directory, read_file, remove_file, write_file
from terra_tftp.listening import Listening, find_listening
from terra_tftp.probe import is_taken, serves
from terra_tftp.process import RunningDnsmasq
from terra_tftp.settings import Dhcp, Settings
from terra_tftp.tree import BootTree

_PATIENCE = 10


class Service:
    """The service of one controller.

    :param places: the controller's places.
    """

    def __init__(self, places: Places) -> None:
        self._paths = ServicePaths(places)
        self._tree = BootTree(places.tftp)
        self._running = RunningDnsmasq(self._paths.configuration, self._paths.pid)
        self._daemon: Daemon | None = None

    def start(self, network: BootNetwork, settings: Settings, nodes: Sequence[NodeBoot]) -> bool:
        """Have dnsmasq running as configured, with the reservations of ``nodes`` and of every machine in the boot tree.

        :returns: whether it was started, for the first time, after its death, or with another configuration.
        :raises TerraError: when it can't run, with what stands in its way.
        """
        listening = find_listening(network.address, settings)
        user = find_user(settings.user)
        text = configuration(settings, listening, network.gateway, self._paths, user.group)
        self._tree.prepare()
        make_directory(self._paths.hosts)
        read = [self._tree.root, *([self._paths.hosts] if settings.dhcp is Dhcp.SERVER else [])]
        check_reachable(read, user)
        changed = self._reserve_all({node.hostname: node.mac for node in nodes})
        if self._alive() and read_file(self._paths.configuration) == text:
            if changed:
                self._running.reload()
            return False
        # The configuration file always says what the running process was started with.
        self._running.stop()
        write_file(self._paths.configuration, text)
        self._start(listening)
        return True

    def stop(self) -> bool:
        """End dnsmasq if it is this controller's; says whether it ran."""
        stopped = self._running.stop()
        self._alive()
        return stopped

    def reserve(self, hostname: Hostname, mac: Mac) -> bool:
        """Let DHCP tell a machine its name, from now on; says whether that is new."""
        make_directory(self._paths.hosts)
        changed = write_file(self._paths.hosts / hostname, reservation(hostname, mac))
        if changed:
            self._running.reload()
        return changed

    def unreserve(self, hostname: Hostname) -> bool:
        """Take a reservation back; says whether there was one."""
        changed = remove_file(self._paths.hosts / hostname)
        if changed:
            self._running.reload()
        return changed

    def _alive(self) -> bool:
        if self._daemon is not None and not self._daemon.alive:
            self._daemon = None
        return self._running.pid is not None

    def _reserve_all(self, nodes: dict[Hostname, Mac]) -> bool:
        """A machine that is being provisioned is in the tree before it is among ``nodes``."""
        wanted = {**self._tree.published(), **nodes}
        strangers = [path for path in self._paths.hosts.iterdir() if path.name not in wanted]
        changes = [remove_file(path) for path in strangers]
        changes += [write_file(self._paths.hosts / name, reservation(name, mac)) for name, mac in wanted.items()]
        return any(changes)

    def _start(self, listening: Listening) -> None:
        if is_taken(listening.address):
            raise failure("address in use by another service", listening)
        # dnsmasq opens its leases while it is root still, and keeps them open.
        make_private_directory(self._paths.leases.parent)
        if self._paths.log.exists():
            self._paths.log.replace(self._paths.former_log)
        args: list[str | Path] = ["dnsmasq", "--keep-in-foreground", f"--conf-file={self._paths.configuration}"]
        daemon = Daemon(args, log=self._paths.log, outlives=True)
        try:
            self._wait(daemon, listening)
        except BaseException:
            daemon.stop()
            raise
        self._daemon = daemon

    def _wait(self, daemon: Daemon, listening: Listening) -> None:
        def ready() -> bool:
            return not daemon.alive or (self._running.pid == daemon.pid and serves(listening.address, seconds=0.5))

        wait_until(
            ready, seconds=_PATIENCE, what=f"dnsmasq to serve {self._tree.root} on {listening.address}", interval=0.02
        )
        if not daemon.alive:
            raise failure(daemon.tail(), listening)


def failure(log: str, listening: Listening) -> TerraError:
    """The error for a dnsmasq that did not start.

    :param log: what it said.
    """
    said = log.strip() or "it said nothing"
    if "in use" in log:
        port, name = ("67", "DHCP") if "DHCP" in log else ("69", "TFTP")
        return TerraError(
            f"the network boot service cannot answer on {listening.address}: its UDP port {port} ({name}) is taken\n{said}",
            hint=f"see who has it with `ss -ulpn sport = :{port}`, and stop that; or give the controller another address",
        )
    return TerraError(f"the network boot service did not start on {listening.address}: {said}")
