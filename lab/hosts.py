"""Hosts that share a Ceph cluster and a PostgreSQL database, each with a controller and a network card of its own."""

from __future__ import annotations

import http.client
import json
import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from attrs import frozen

from iso.daemons import start, wait_ready
from lab.ceph import POOL, Ceph
from lab.namespace import Namespace
from lab.network import PREFIX, Network
from lab.postgresql import Postgresql
from lab.registry import Registry
from lab.site import confined, terra_command
from terra_core.config.controller import API_PORT, Paths
from terra_core.service.tokens import read_token
from terra_core.system.process import Argument, Completed, Daemon, run
from terra_core.system.undo import Undo
from terra_core.system.waiting import wait_until

PORTAL = "10.0.10.44"
"""The storage address of all hosts."""
_LIMIT = 120.0


class Host(Namespace):
    """A host with a network card of its own and a controller.

    :param label: its name; the last letter is that of its wire.
    :param address: its address in the network.
    :param root: its controller's root.
    :param network: the network that it is in.
    """

    def __init__(self, label: str, address: str, root: Path, network: Network) -> None:
        super().__init__(label)
        self.label, self.address, self.root, self._network = label, address, root, network
        self._daemons: dict[str, Daemon] = {}
        self._stack = Undo()

    def __enter__(self) -> Self:
        super().__enter__()
        with Undo() as stack:
            stack.callback(super().__exit__, None, None, None)
            stack.enter_context(self._network.wire(self.wire, self.name))
            self.ip("address", "add", f"{self.address}/{PREFIX}", "dev", "eth0")
            self.ip("link", "set", "eth0", "up")
            run(self.command(["sysctl", "--quiet", "--write", "net.ipv4.ip_nonlocal_bind=1"]))
            stack.callback(self.stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        self._stack.unwind(failure)

    @property
    def wire(self) -> str:
        """The name of its wire at the bridge."""
        return f"to-{self.label[-1]}"

    @property
    def controller(self) -> Daemon:
        """Its controller."""
        return self._daemons["controller"]

    @property
    def log(self) -> Path:
        """The output of its controller, since that was started last."""
        return self.root / f"controller.{len(list(self.root.glob('controller.*.log'))) - 1}.log"

    @property
    def leases(self) -> Path:
        """The file of the leases of its DHCP server."""
        return Paths(self.root).state / "dnsmasq.leases"

    def configure(
        self,
        hosts: Mapping[str, str],
        database: str,
        ceph: Ceph,
        registry: Registry,
        *,
        user: str,
        more: str = "",
    ) -> None:
        """Write its controller.toml.

        :param hosts: the addresses of all hosts, by name.
        :param database: the URL of their database.
        :param user: whom the cluster knows it as; see :func:`add_user`.
        :param more: further keys and tables of controller.toml.
        """
        Paths(self.root).etc.mkdir(parents=True)
        named = "".join(f'{name} = ["{address}"]\n' for name, address in hosts.items())
        (Paths(self.root).etc / "controller.toml").write_text(
            f'name = "{self.label}"\naddress = "{self.address}"\nstorage_address = "{PORTAL}"\ndatabase = "{database}"\n{more}'
            f'[plugins]\nstore = "ceph"\n[docker]\ninsecure = ["{registry.address}"]\n'
            f'[ceph]\nconfig = "{ceph.config}"\nuser = "{user}"\n[iscsi]\ndomain = "terra.example"\n'
            f'[failover]\ninterface = "eth0"\n[failover.hosts]\n{named}'
        )

    def configure_local(self, database: str, registry: Registry, *, more: str = "") -> None:
        """Write its controller.toml for disks of its own.

        :param database: the URL of the database of all hosts.
        :param more: further keys of controller.toml.
        """
        Paths(self.root).etc.mkdir(parents=True)
        (Paths(self.root).etc / "controller.toml").write_text(
            f'name = "{self.label}"\naddress = "{self.address}"\nlocal_store = true\ndatabase = "{database}"\n{more}'
            f'[docker]\ninsecure = ["{registry.address}"]\n[iscsi]\ndomain = "terra.example"\n'
        )

    def share(self, first: Path, places: Sequence[str] = ("tftp", "var/lib/terra/golden")) -> None:
        """Have in common with the first host what hosts have in common: kernels, boot loaders, and the documents of images.

        :param first: the root of that one's controller.
        :param places: which directories; hosts with disks of their own have boot files alone in common.
        """
        for place in places:
            (first / place).mkdir(parents=True, exist_ok=True)
            (self.root / place).parent.mkdir(parents=True, exist_ok=True)
            (self.root / place).symlink_to(first / place)

    def start(self) -> None:
        """Start its controller, which is not there, as its unit does."""
        words: list[Argument] = [*confined(), terra_command(), "--debug", "controller", "--root", self.root]
        self.start_daemon("controller", words)
        wait_ready(self.controller, self.answers, seconds=_LIMIT, what=f"the controller of {self.label} to answer")

    def start_keepalived(self) -> None:
        """Start keepalived, unless it runs, with what its controller says."""
        alive = self._daemons.get("keepalived")
        if alive is None or not alive.alive:
            text = run(self.command([terra_command(), "controller", "--root", self.root, "keepalived"])).text
            (self.root / "keepalived.conf").write_text(text)
            pids: list[Argument] = ["-p", self.root / "keepalived.pid", "-r", self.root / "vrrp.pid"]
            words = ["keepalived", "-n", "-l", "-D", "-G", "-P", "-f", self.root / "keepalived.conf", *pids]
            self.start_daemon("keepalived", words)

    def start_daemon(self, name: str, words: Sequence[Argument]) -> None:
        """Start a daemon of this host; its log is kept under a new name each time."""
        log = self.root / f"{name}.{len(list(self.root.glob(f'{name}.*.log')))}.log"
        self._daemons[name] = start(self.command(words), log=log)

    def kill(self) -> None:
        """Kill all that runs on it."""

        def gone() -> bool:
            self.signal(signal.SIGKILL)
            return not self.processes()

        wait_until(gone, seconds=20, what=f"all of {self.label} to end")
        for daemon in self._daemons.values():
            daemon.wait(10)

    def signal(self, number: int) -> None:
        """Send a signal to all that runs on it."""
        for process in self.processes():
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)

    def cut(self) -> None:
        """Pull its network cable."""
        self._network.ip("link", "set", self.wire, "down")

    def join(self) -> None:
        """Put its network cable in again."""
        self._network.ip("link", "set", self.wire, "up")

    def stop(self) -> None:
        """End all that runs on it, in order."""
        self.signal(signal.SIGCONT)
        with Undo() as undo:
            undo.callback(self.terra, "controller", "--stop", "--root", self.root)
            for name in ("keepalived", "controller"):
                if name in self._daemons:
                    undo.callback(self._daemons[name].stop, 60)

    def terra(self, *words: str | Path, accept: Sequence[int] = (0,), seconds: float = 300) -> Completed:
        """Run terra on it, which asks its own controller."""
        return run(self.command([terra_command(), *words]), env=self.environment(), timeout=seconds, accept=accept)

    def environment(self) -> dict[str, str]:
        """Return the variables by which ``terra`` asks its controller."""
        return {"TERRA_CONTROLLER": self.address, "TERRA_TOKEN": read_token(Paths(self.root).token)}

    def answers(self) -> bool:
        """Return whether its controller answers."""
        return self.ask("/healthz")[0] == 200

    def ask(self, path: str, method: str = "GET") -> tuple[int, Any]:
        """Return status and document of an answer of its controller."""
        connection = http.client.HTTPConnection(self.address, API_PORT, timeout=10)
        with self.inside():
            connection.connect()
        try:
            connection.request(method, path, headers={"Authorization": f"Bearer {read_token(Paths(self.root).token)}"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        finally:
            connection.close()

    def hosts(self) -> dict[str, tuple[str, bool]]:
        """Return what each host does, and whether it leads, as this one knows."""
        with suppress(OSError, http.client.HTTPException):
            status, hosts = self.ask("/v1/hosts")
            if status == 200:
                return {host["name"]: (host["state"], host["leads"]) for host in hosts}
        return {}

    def is_said_to_be(self, host: Host, state: str) -> bool:
        """Return whether this host says of one that it is in a state, and does not lead."""
        return self.hosts().get(host.label) == (state, False)

    def works(self) -> bool:
        """Return whether it leads, and works."""
        return self.hosts().get(self.label) == ("working", True)

    def has_portal(self) -> bool:
        """Return whether the portal's address is here."""
        return PORTAL in self.ip("-oneline", "address", "show")

    def serves(self) -> bool:
        """Return whether it leads, works, and has the portal."""
        return self.works() and self.has_portal()

    def names(self) -> set[str]:
        """Return the names of the programs that run on it."""
        return {process.name for process in self.processes()}

    def tail(self) -> str:
        """Return the ends of its logs."""
        return "\n".join(f"{self.label} {name}:\n{daemon.tail()}" for name, daemon in self._daemons.items())


def add_user(ceph: Ceph, name: str) -> None:
    """Make the user of a host, who may shut hosts out and let them in."""
    ceph.add_user(name, "mon", 'profile rbd, allow command "osd blocklist"', "osd", f"profile rbd pool={POOL}")


@frozen
class Party:
    """Hosts that share a cluster and a database of their own.

    :param hosts: by name.
    :param server: that of their database.
    :param url: of the database.
    :param work: a directory, which everybody may pass.
    """

    hosts: dict[str, Host]
    server: Postgresql
    url: str
    work: Path


@contextmanager
def party(
    addresses: Mapping[str, str],
    name: str,
    ceph: Ceph,
    registry: Registry,
    network: Network,
    *,
    more: str = "",
    begin: Callable[[Host], None] = Host.start,
) -> Iterator[Party]:
    """Offer hosts as :func:`hosts_of` does, with users of the cluster, a directory, a server and a database for them.

    :param name: of the database.
    """
    with Undo() as undo:
        work = Path(undo.enter_context(tempfile.TemporaryDirectory(prefix=f"terra-{name}-")))
        work.chmod(0o755)
        server = undo.enter_context(Postgresql(network))
        with network.inside():
            url = server.make(name)
        for host in addresses:
            add_user(ceph, host)
        hosts = undo.enter_context(hosts_of(addresses, work, url, ceph, registry, network, more=more, begin=begin))
        yield Party(hosts, server, url, work)


@contextmanager
def hosts_of(
    addresses: Mapping[str, str],
    root: Path,
    database: str,
    ceph: Ceph,
    registry: Registry,
    network: Network,
    *,
    more: str = "",
    begin: Callable[[Host], None] = Host.start,
) -> Iterator[dict[str, Host]]:
    """Offer hosts on a cluster and an empty database: the first one works, and the others wait. What they make goes in the end.

    :param addresses: of each host, by its name, which is that of its user at the cluster, too; see :func:`add_user`.
    :param root: a directory for them.
    :param database: its URL.
    :param network: the network that they are in.
    :param more: further keys of controller.toml.
    :param begin: starts a host.
    """
    with Undo() as undo:
        undo.callback(ceph.empty)
        undo.callback(ceph.ceph, "osd", "blocklist", "clear")
        hosts: dict[str, Host] = {}
        for name, address in addresses.items():
            host = Host(name, address, root / name, network)
            host.configure(addresses, database, ceph, registry, user=name, more=more)
            first = next(iter(hosts.values()), host)
            if first is not host:
                host.share(first.root)
            begin(undo.enter_context(host))
            hosts[name] = host
            wait_until(first.works, seconds=_LIMIT, what=f"{first.label} to work")
        others = dict.fromkeys(list(hosts)[1:], ("waiting", False))
        wait_until(lambda: others.items() <= first.hosts().items(), seconds=_LIMIT, what="the others to wait")
        yield hosts
