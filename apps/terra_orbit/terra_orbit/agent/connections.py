"""Connecting containers to their networks, and disconnecting them: each is stored before it is done, so that none is lost."""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog
from attrs import evolve

from terra_core.errors import TerraError, words_of
from terra_core.system.process import uninterrupted
from terra_core.system.processes import Process, start_time
from terra_core.system.undo import Undo, undoing
from terra_orbit.agent import cni, links
from terra_orbit.agent.conf import Ground, render
from terra_orbit.agent.dhcp import Dhcp
from terra_orbit.agent.inform import Names, ask_names
from terra_orbit.agent.paths import OrbitPaths
from terra_orbit.agent.records import Attachment, Record
from terra_orbit.agent.store import Store
from terra_orbit.networks import IpamType, Network, NetworkType
from terra_orbit.vhost import Vhost

_log = structlog.get_logger(__name__)


def fresh_macs(vhost: Vhost, former: Sequence[str] = ()) -> tuple[str, ...]:
    """Return a hardware address for each network: its own, its former one, or a random locally administered one."""
    kept = [*former, *[""] * len(vhost.networks)]
    return tuple(network.mac or kept[at] or _random_mac() for at, network in enumerate(vhost.networks))


def _random_mac() -> str:
    octets = bytes([secrets.randbits(8) & 0xFC | 0x02, *secrets.token_bytes(5)])
    return octets.hex(":")


class Connections:
    """The connections of one agent's containers.

    :param store: where they are noted.
    :param paths: where the pools and sockets are.
    """

    def __init__(self, store: Store, paths: OrbitPaths) -> None:
        self._store = store
        self._paths = paths
        self._dhcp = Dhcp(paths.dhcp, paths.state / "dhcp.log")
        self._bridges = threading.Lock()
        self._users = 0
        self._held: dict[int, str] = {}

    def check(self, vhost: Vhost) -> None:
        """Make sure that the networks can be, before anything is begun.

        :raises TerraError: when a host's interface or a plugin is missing.
        """
        for network in vhost.networks:
            if network.type is NetworkType.HOST or network.ipam is None:
                continue
            cni.program(network.type.value)
            cni.program(network.ipam.type.value)
            if network.type in (NetworkType.MACVLAN, NetworkType.IPVLAN):
                self._check_master(network)

    def attach(self, record: Record, pid: int) -> None:
        """Connect a container that runs to all its networks.

        :param pid: its first process.
        :raises TerraError: when one cannot be connected; none is then.
        """
        since = start_time(pid)
        first = True
        for at, network in enumerate(record.current.vhost.networks):
            if network.type is NetworkType.HOST:
                continue
            try:
                self._attach(record, network, f"eth{at}", record.macs[at], (pid, since), default_route=first)
            except BaseException as error:
                with undoing(error):
                    self.detach(record)
                raise
            first = False

    def attached(self, record: Record, attachments: Sequence[Attachment]) -> bool:
        """Return whether everything is connected to the very process that it was connected to."""
        wanted = {f"eth{at}" for at, one in enumerate(record.current.vhost.networks) if one.type is not NetworkType.HOST}
        right = {
            one.interface
            for one in attachments
            if one.revision == record.revision and one.addresses and Process(one.pid, one.started).alive
        }
        return wanted == right and len(attachments) == len(wanted)

    def names(self, record: Record) -> Names | None:
        """Return the name servers that the DHCP server of the first network with one tells."""
        for attachment in self._store.attachments(record):
            call = _call(record, attachment)
            if not _leased(attachment) or not attachment.addresses or not call.namespace:
                continue
            address = attachment.addresses[0].partition("/")[0]
            try:
                return ask_names(Path(call.namespace), attachment.interface, address, attachment.mac)
            except (OSError, TerraError) as error:
                _log.warning("the name servers cannot be asked for", container=record.id, reason=words_of(error))
        return None

    @contextmanager
    def held(self, record: Record) -> Iterator[None]:
        """Keep the networks of a container that is about to end, so that it can be disconnected in good order afterwards.

        The kernel removes what is in a network namespace some time after its last process has ended.
        """
        attachments = self._store.attachments(record)
        with Undo() as stack:
            for pid in {one.pid for one in attachments if Process(one.pid, one.started).alive}:
                with suppress(OSError):
                    file = stack.enter_context(Path(links.network_of(pid)).open("rb"))  # noqa: SIM115  # ruff knows no Undo
                    self._held[pid] = f"/proc/{os.getpid()}/fd/{file.fileno()}"
                    stack.callback(self._held.pop, pid, None)
            yield

    def detach(self, record: Record) -> None:
        """Disconnect a container from all that it was, or may have been, connected to.

        :raises TerraError: when a plugin refuses; the others are asked all the same.
        """
        failures: list[TerraError] = []
        with uninterrupted():
            for attachment in reversed(self._store.attachments(record)):
                try:
                    self._detach(record, attachment)
                except TerraError as error:
                    failures.append(error)
        if failures:
            raise failures[0]

    def keep_up(self) -> None:
        """Keep the DHCP daemon and its leases up where they are needed; take away what networks do not need any more.

        :raises TerraError: when that fails; to be called again then.
        """
        for made in self._paths.bridges.iterdir() if self._paths.bridges.exists() else ():
            self._remove_idle(made.name)
        attachments = self._store.all_attachments()
        leased = {uid: [one for one in ones if _leased(one) and one.addresses] for uid, ones in attachments.items()}
        records = self._store.all() if any(leased.values()) else []
        needed = [(record, attachment) for record in records for attachment in leased.get(record.uid, [])]
        if not needed:
            self.stop_idle()
            return
        if self._dhcp.start():
            _log.warning("the DHCP daemon was gone and has been started again")
        for record, attachment in needed:
            if attachment.keeper != self._dhcp.identity and Process(attachment.pid, attachment.started).alive:
                self._renew(record, attachment)

    def stop_idle(self) -> None:
        """End the DHCP daemon when there is no lease; nobody may be between its start and the note of one."""
        with self._bridges:
            noted = self._store.all_attachments().values()
            if not self._users and not any(_leased(one) for ones in noted for one in ones):
                self._dhcp.stop()

    def _renew(self, record: Record, attachment: Attachment) -> None:
        """Take a lease up again; if that brings another address, or none, the container has to be connected anew."""
        keeper = self._dhcp.identity
        addresses: tuple[str, ...] = ()
        try:
            addresses = cni.addresses_of(cni.renew(attachment.conf, _call(record, attachment)))
        except TerraError as error:
            _log.warning("a lease cannot be taken up again", container=record.id, reason=str(error))
        same = addresses == attachment.addresses
        self._store.put_attachment(record, evolve(attachment, keeper=keeper, pid=attachment.pid if same else 0))

    def _attach(
        self, record: Record, network: Network, interface: str, mac: str, process: tuple[int, str], *, default_route: bool
    ) -> None:
        ground = self._ground(network)
        wanted = self._store.former_addresses(record, interface)
        pid, since = process
        conf = render(network, ground, mac=mac, wanted=wanted, default_route=default_route)
        noted = Attachment(interface=interface, revision=record.revision, conf=conf, pid=pid, started=since, mac=mac)
        with self._bridges:
            self._users += 1
        try:
            if network.ipam is not None and network.ipam.type is IpamType.DHCP:
                self._dhcp.start()
            self._note_bridge(network)
            self._store.put_attachment(record, noted)
            addresses = self._add(record, network, noted, ground, default_route=default_route)
        finally:
            with self._bridges:
                self._users -= 1
        keeper = self._dhcp.identity if _leased(noted) else ""
        self._store.put_attachment(record, evolve(noted, addresses=addresses, keeper=keeper))

    def _add(
        self, record: Record, network: Network, noted: Attachment, ground: Ground, *, default_route: bool
    ) -> tuple[str, ...]:
        call = _call(record, noted)
        if not call.namespace:
            raise TerraError(f"{record.id}: ended before it was connected to the network {network.name}")
        try:
            return cni.addresses_of(cni.add(noted.conf, call))
        except cni.NetworkError:
            if "args" not in noted.conf:
                raise
        # Another container has the former address by now.
        with suppress(TerraError):
            cni.delete(noted.conf, call)
        conf = render(network, ground, mac=noted.mac, default_route=default_route)
        return cni.addresses_of(cni.add(conf, call))

    def _detach(self, record: Record, attachment: Attachment) -> None:
        if _leased(attachment):
            self._dhcp.start()
        namespace = self._held.get(attachment.pid, "")
        cni.delete(attachment.conf, evolve(_call(record, attachment), **({"namespace": namespace} if namespace else {})))
        self._store.drop_attachment(record, attachment)
        bridge = attachment.conf.get("bridge")
        if bridge:
            self._remove_idle(str(bridge))

    def _ground(self, network: Network) -> Ground:
        asked = network.type in (NetworkType.MACVLAN, NetworkType.IPVLAN) and network.master is None
        master = links.default_interface() if asked else None
        return Ground(pools=self._paths.pools, dhcp=self._paths.dhcp, master=master)

    def _note_bridge(self, network: Network) -> None:
        """Note that Orbit is about to make a bridge, so that it can be removed later; a bridge that exists already stays."""
        if network.type is NetworkType.BRIDGE and network.name and not links.exists(network.name):
            self._paths.bridges.mkdir(parents=True, exist_ok=True)
            (self._paths.bridges / network.name).touch()

    def _remove_idle(self, bridge: str) -> None:
        with self._bridges:
            made = self._paths.bridges / bridge
            if not self._users and made.exists() and (links.remove_idle_bridge(bridge) or not links.exists(bridge)):
                made.unlink(missing_ok=True)

    def _check_master(self, network: Network) -> None:
        if network.master is not None:
            links.require_interface(network.master)
        elif links.default_interface() is None:
            raise TerraError(
                f"the network {network.name} names no interface of the host, and the host has no default route to take it from",
                hint='say which: master = "eth0" in [[networks]]',
            )


def _leased(attachment: Attachment) -> bool:
    return bool(attachment.conf["ipam"]["type"] == IpamType.DHCP.value)


def _call(record: Record, attachment: Attachment) -> cni.Call:
    there = Process(attachment.pid, attachment.started).alive
    namespace = links.network_of(attachment.pid) if there else ""
    return cni.Call(container=record.uid, interface=attachment.interface, namespace=namespace)


def interface_addresses(attachment: Attachment) -> tuple[str, ...]:
    """Return the addresses that a connection has right now, as the kernel has them."""
    if not Process(attachment.pid, attachment.started).alive or not Path(links.network_of(attachment.pid)).exists():
        return ()
    with suppress(OSError):
        return links.addresses(links.network_of(attachment.pid), attachment.interface)
    return ()
