"""The network boot service: a dnsmasq that outlives the controller."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from functools import partial
from ipaddress import IPv4Address
from math import inf
from pathlib import Path

from terra_core.config.controller import Paths
from terra_core.config.values import Hostname, Mac
from terra_core.errors import TerraError
from terra_core.hookspecs import BootNetwork, NodeBoot, Sightings
from terra_core.system.daemons import open_files, start_daemon
from terra_core.system.process import Daemon, run
from terra_core.system.processes import Process, find_daemon
from terra_core.system.progress import Event, Report
from terra_core.system.waiting import WaitedInVain, wait_until
from terra_tftp.access import check_reachable, find_user
from terra_tftp.configuration import TRANSFERS, Loaders, ServicePaths, configuration
from terra_tftp.files import make_directory, make_private_directory, read_file, write_file
from terra_tftp.listening import Listening, find_listening
from terra_tftp.log import Log
from terra_tftp.probe import is_taken, serves
from terra_tftp.reservation_file import ReservationFile
from terra_tftp.settings import Dhcp, Settings
from terra_tftp.sightings import Owners, neighbours, sightings
from terra_tftp.tree import BootTree

_PATIENCE = 10
_LOOK_SECONDS = 60.0
"""Seconds between two readings of all machines' files: in between, only changes made here are known for certain."""
_SILENCE = 10
"""Seconds without an answer after which a dnsmasq that runs is taken to hang."""
_PAUSE = 5
"""Seconds between two questions: dnsmasq notes each file that it has sent."""
_UNASKED = 60
"""Seconds without an answer after which one that may be reading is asked all the same."""
_LOG_LIMIT = 8 * 1024 * 1024
"""The largest log, in bytes: it is in memory."""
_FILES = TRANSFERS + 64
_READING = 1e-7
"""Seconds between two readings of the reservations, for the square of their number: 10 s for 10,000, 0.1 s for 1,000.
dnsmasq takes a quarter of that where each machine has a lease, as it compares all leases with all reservations."""


class Service:
    """The service of one controller: it is one dnsmasq, whichever boot plugin configures it.

    :param paths: the controller's paths.
    :param tree: the machines that are published.
    """

    def __init__(self, paths: Paths, tree: BootTree) -> None:
        self._paths = ServicePaths(paths, paths.tftp)
        self._log = Log(self._paths.log, self._paths.former_log, _LOG_LIMIT)
        self._tree = tree
        self._own: frozenset[IPv4Address] = frozenset()
        self._nodes: dict[Hostname, Mac] = {}
        self._published: dict[Hostname, Mac] = {}
        self._reservations = ReservationFile(self._paths)
        self._unread, self._read_at = True, -inf  # what a controller before this one has written may not have been read
        self._looked = -_LOOK_SECONDS
        self._answered = -inf

    def start(
        self, network: BootNetwork, settings: Settings, loaders: Loaders, nodes: Sequence[NodeBoot], report: Report
    ) -> bool:
        """Start dnsmasq unless it runs as configured, with the reservations of ``nodes`` and of every machine in the boot tree.

        :param loaders: what it serves; the file ``known`` exists already.
        :returns: whether it was started: for the first time, because it had ended or hung, or with another configuration.
        :raises TerraError: when it can't run, with what stands in its way.
        """
        listening = find_listening(network.address, settings)
        made_by = "install the package dnsmasq-base, which makes the user dnsmasq"
        user = find_user(settings.user, "dnsmasq", f'{made_by}, or set user in [{settings.table}], such as "nobody"')
        text = configuration(settings, listening, network.gateway, self._paths, user.group, loaders)
        if self._answered == -inf:  # the first time that this controller asks
            self._tree.sweep()
        self._tree.prepare()
        make_directory(self._paths.directory)
        read = [loaders.root, *([self._paths.directory] if settings.dhcp is Dhcp.SERVER else [])]
        check_reachable(read, user, "dnsmasq")
        self._own = frozenset(IPv4Address(one) for one in (listening.address, network.gateway) if one and ":" not in one)
        self._nodes = {node.hostname: node.mac for node in nodes}
        running = self._process() is not None and read_file(self._paths.configuration) == text
        self._unread |= self._reservations.bring(self._machines(), settings, self._own)
        if running:
            self._log.bound()
            if self._answers(listening, loaders):  # before it is made to read, as it answers nobody meanwhile
                self._reload()
                return False
            hangs = f"dnsmasq did not answer on {listening.address} for {_SILENCE} s, and is started again"
            report(Event("boot", f"warning: {hangs}"))
        # The configuration file always says what the running process was started with.
        self.stop()
        shutil.rmtree(self._paths.former_reservations, ignore_errors=True)
        write_file(self._paths.configuration, text)
        self._start(listening, loaders)
        self._unread = False
        return True

    def stop(self) -> bool:
        """Stop dnsmasq if it is this controller's; return whether it ran."""
        process = self._process()
        if process is not None:
            process.stop()
            self._paths.pid.unlink(missing_ok=True)
        return process is not None

    def follow(self, position: str, root: Path, settings: Settings) -> Sightings:
        """Return what dnsmasq saw machines do; see :meth:`terra_core.hookspecs.Boot.follow_boots`.

        :param root: the directory that it serves.
        """
        lines, position = self._log.read(position)
        seen = tuple(sightings(lines, root, self.owners(settings), time.time())) if lines else ()
        return Sightings(position=position, seen=seen)

    def owners(self, settings: Settings) -> Owners:
        """Return how to tell whose an address is."""
        if settings.dhcp is Dhcp.SERVER:  # who takes the address of another machine is not that machine all the same
            return Owners({address: mac for mac, address in self._reservations.addresses().items()})
        return Owners(neighbours(), {self._tree.layout.node(name): mac for name, mac in self._machines().items()})

    def reserve(self, hostname: Hostname, mac: Mac, settings: Settings) -> bool:
        """Let DHCP tell a machine its name and keep an address for it, from now on; return whether that is new.

        :raises TerraError: when there is no address left for it.
        """
        changed = False
        if not self._reservations.holds(hostname, mac, settings, self._own):
            machines = {**self._machines(), hostname: mac}
            self._nodes[hostname] = self._published[hostname] = mac
            changed = self._bring(machines, settings)
        if settings.dhcp is Dhcp.SERVER and mac not in self._reservations.addresses():
            raise TerraError(
                f"there is no address left for {hostname}: the range {' to '.join(settings.range)} has no more of them than "
                f"there are other machines",
                hint=f"widen range in [{settings.table}] of controller.toml",
            )
        return changed

    def unreserve(self, hostname: Hostname, settings: Settings) -> bool:
        """Remove a reservation; return whether there was one."""
        had = self._reservations.names(hostname)
        machines = self._machines()
        for known in (machines, self._nodes, self._published):
            known.pop(hostname, None)
        if not machines and not self._paths.reservations.exists():
            return False
        return self._bring(machines, settings) and had

    def _bring(self, machines: Mapping[Hostname, Mac], settings: Settings) -> bool:
        """Reserve for these machines and no others; return whether that is new."""
        changed = self._reservations.bring(machines, settings, self._own)
        self._unread |= changed
        self._reload()
        return changed

    def _process(self) -> Process | None:
        return find_daemon("dnsmasq", f"--conf-file={self._paths.configuration}", pid_file=self._paths.pid)

    def _reload(self) -> None:
        """Let it read the reservations where they have changed, if it runs.

        It answers nobody while it reads, and compares each line with all before it: of many changes at once, the first is read
        now, and the others together, by the controller's next look.
        """
        if self._unread and not self._may_read:
            process = self._process()
            if process is not None:
                process.signal(signal.SIGHUP)
                self._read_at = time.monotonic()
            self._unread = False

    @property
    def _may_read(self) -> bool:
        """Whether it may be reading, or has to have some time for others."""
        return time.monotonic() < self._read_at + _READING * len(self._reservations) ** 2

    def _answers(self, listening: Listening, loaders: Loaders) -> bool:
        """Return whether it sends files, or has done so just now; a busy one gets time to answer."""
        if time.monotonic() < self._answered + (_UNASKED if self._may_read else _PAUSE):
            return True
        try:
            answers = partial(serves, listening.address, loaders.known, seconds=1)
            wait_until(answers, seconds=_SILENCE, what="dnsmasq to answer")
        except WaitedInVain:
            return False
        self._answered = time.monotonic()
        return True

    def _machines(self) -> dict[Hostname, Mac]:
        """Return every machine; one that is being provisioned is in the tree before the controller names it.

        Where another host has given addresses since, its machines are in the tree by now.
        """
        if time.monotonic() - self._looked >= _LOOK_SECONDS or self._reservations.is_of_others:
            self._published = self._tree.published()
            self._looked = time.monotonic()
        return {**self._nodes, **self._published, **self._nodes}

    def _start(self, listening: Listening, loaders: Loaders) -> None:
        if is_taken(listening.address):
            raise failure("address in use by another service", listening)
        run(["dnsmasq", "--version"])  # prlimit would write into its log that dnsmasq is missing
        # dnsmasq opens its leases while it is root still, and keeps them open.
        make_private_directory(self._paths.leases.parent)
        self._log.renew()
        # dnsmasq sends as many files at once as it may open.
        args = [*open_files(_FILES), "dnsmasq", "--keep-in-foreground", f"--conf-file={self._paths.configuration}"]
        start_daemon(
            args, log=self._paths.output, wait=lambda daemon: self._wait(daemon, listening, loaders), name="dnsmasq"
        )
        self._answered = time.monotonic()

    def _wait(self, daemon: Daemon, listening: Listening, loaders: Loaders) -> None:
        def ready() -> bool:
            process = self._process()
            ours = process is not None and process.pid == daemon.pid
            return not daemon.alive or (ours and serves(listening.address, loaders.known, seconds=0.5))

        wait_until(ready, seconds=_PATIENCE, what=f"dnsmasq to serve {loaders.root} on {listening.address}", interval=0.02)
        if not daemon.alive:
            raise failure(daemon.tail(), listening)


def failure(log: str, listening: Listening) -> TerraError:
    """Return the error for a dnsmasq that did not start.

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
