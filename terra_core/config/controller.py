"""controller.toml: the daemon that gives machines their disks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path

from attrs import Factory, evolve, frozen

from terra_core.config.structure import Problem, has
from terra_core.config.trust import Trust
from terra_core.config.values import Address, Duration, HostAddress, Hostname, PluginName, parse_hostname

API_PORT = 9000
_INTERFACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")


@frozen(kw_only=True)
class Tls:
    """``[tls]``: how the API shows who it is.

    :param certificate: a PEM file with the certificate and its chain.
    :param key: a PEM file with the private key.
    """

    certificate: str
    key: str


@frozen(kw_only=True)
class Upgrades:
    """``[upgrade]`` of controller.toml.

    :param timeout: how long a machine may take to report that it is well, from the moment on that it has its new disks.
    :param keep_former: how long the former version of a machine that is well is kept, for ``terra rollback``.
    """

    timeout: Duration = Duration(900)
    keep_former: Duration = Duration(7 * 86400)


@frozen(kw_only=True)
class Failover:
    """``[failover]``: the storage address is on the host that leads, where keepalived puts it.

    :param hosts: the addresses of each controller of the database by its name, the same on all of them. By the first address
        the hosts speak VRRP to each other; a host is fenced by all of its addresses, those by which it reaches the store.
    :param interface: the network interface of this host that gets the storage address.
    :param router: the number of the storage address in VRRP (VRID, RFC 5798), which no other one of the network has.
    """

    hosts: Mapping[str, tuple[HostAddress, ...]]
    interface: str
    router: int = 51

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values, and between them."""
        if has(self, "router") and not 0 < self.router < 256:
            yield Problem("router", f"expected a number from 1 to 255, got {self.router}")
        if has(self, "interface") and not _INTERFACE.fullmatch(self.interface):
            yield Problem("interface", f"expected the name of a network interface, such as eth0, got {self.interface!r}")
        if has(self, "hosts"):
            yield from self._problems_of_hosts()

    def _problems_of_hosts(self) -> Iterator[Problem]:
        owners: dict[HostAddress, str] = {}
        for name, addresses in self.hosts.items():
            try:
                parse_hostname(name)
            except ValueError as error:
                yield Problem("hosts", f"{name!r}: {error}")
            if not addresses:
                yield Problem(f"hosts.{name}", "expected at least one address")
            for address in addresses:
                if address in owners:
                    yield Problem(f"hosts.{name}", f"{address} is an address of {owners[address]} already")
                owners[address] = name


@frozen(kw_only=True)
class Controller:
    """controller.toml; an option of ``terra controller`` wins over its key here.

    :param name: the name of this controller among those of its database; the host name of its machine when left out.
    :param address: the address that the API and the network boot service answer on.
    :param port: the port of the API.
    :param report_port: the port at which machines report their boots; the one after ``port`` when left out.
    :param gateway: the gateway that machines are told of.
    :param storage_address: the address of the storage service; ``address`` when left out.
    :param local_store: whether the volumes of this host are its own, such as on its own disks, and no other host of the
        database reaches them. It counts for all hosts of a database, or for none.
    :param database: where the state is kept, as a URL; a SQLite file of the controller's own when left out.
    :param jobs: how many machines are provisioned at once, on each host of several.
    :param keep_images: how long an image that is laid down for clones is kept when no machine is of it, such as "12h" or "30d".
    :param upgrade: how long upgrades of machines take.
    :param failover: how the storage address moves from host to host; it stays where it is when left out.
    :param tls: certificate and key of the API.
    :param trust: whose images are provisioned, whatever a node says beside it; anybody's when left out.
    :param plugins: the plugin of each role, where it is not the default.
    """

    name: Hostname | None = None
    address: Address = Address("127.0.0.1")
    port: int = API_PORT
    report_port: int | None = None
    gateway: HostAddress | None = None
    storage_address: HostAddress | None = None
    local_store: bool = False
    database: str | None = None
    jobs: int = 2
    keep_images: Duration = Duration(30 * 86400)
    upgrade: Upgrades = Upgrades()
    failover: Failover | None = None
    tls: Tls | None = None
    trust: Trust | None = None
    plugins: Mapping[str, PluginName] = Factory(dict)

    @property
    def own_name(self) -> str:
        """Its name: that of its machine, where the file gives it none."""
        if self.name is not None:
            return self.name
        try:
            return parse_hostname(os.uname().nodename)
        except ValueError:  # "localhost", or a name that no network takes
            return "controller"

    @property
    def portal(self) -> Address:
        """The address that the storage service answers on."""
        return self.storage_address or self.address

    @property
    def reports(self) -> int:
        """The port at which machines report their boots."""
        return self.report_port or self.port + 1

    def overridden(self, **options: object) -> Controller:
        """Return the same configuration, with every option that is not ``None`` in place of its key."""
        return evolve(self, **{name: value for name, value in options.items() if value is not None})  # type: ignore[arg-type]  # each option has the type of its key

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong between the fields."""
        if has(self, "port") and not 0 < self.port < 65536:
            yield Problem("port", f"expected a port from 1 to 65535, got {self.port}")
        if has(self, "report_port") and self.report_port is not None and not 0 < self.report_port < 65536:
            yield Problem("report_port", f"expected a port from 1 to 65535, got {self.report_port}")
        elif has(self, "port", "report_port") and self.reports in (self.port, 65536):
            yield Problem("report_port", f"expected a port for reports beside {self.port}, that of the API")
        if has(self, "jobs") and not 0 < self.jobs <= 64:
            yield Problem("jobs", f"expected from 1 to 64, got {self.jobs}")
        if has(self, "local_store", "database") and self.local_store and not (self.database or "").startswith("postgresql"):
            yield Problem("database", "expected a database in PostgreSQL, for local_store is of several hosts that have one")
        if has(self, "local_store", "failover") and self.local_store and self.failover is not None:
            text = "is for hosts that reach the same volumes, and local_store = true says that nobody else reaches those here"
            yield Problem("failover", text)
        if has(self, "failover", "storage_address", "database", "address") and self.failover is not None:
            yield from self._problems_of_failover(self.failover)

    def _problems_of_failover(self, failover: Failover) -> Iterator[Problem]:
        if self.storage_address is None:
            yield Problem("storage_address", "expected the address that moves from host to host, as [failover] has it")
        elif self.storage_address == self.address:
            yield Problem("storage_address", f"expected an address that moves, and not this host's own, {self.address}")
        for name, addresses in failover.hosts.items() if has(failover, "hosts") else ():
            if self.storage_address in addresses:
                yield Problem(f"failover.hosts.{name}", f"{self.storage_address} is the address that moves, and no host's own")
            elif self.storage_address and addresses and _family(addresses[0]) not in (None, _family(self.storage_address)):
                expected = f"expected an IPv{_family(self.storage_address)} address first, as {self.storage_address} is one"
                yield Problem(f"failover.hosts.{name}", f"{expected}: VRRP moves addresses of its own kind, got {addresses[0]}")
        if not (self.database or "").startswith("postgresql"):
            yield Problem("database", "expected a database in PostgreSQL, for [failover] needs one that several hosts have")


def _family(address: object) -> int | None:
    """Return the version of an address; ``None`` for one that is none, which is said elsewhere."""
    return ip_address(address).version if isinstance(address, str) else None


@frozen
class Paths:
    """Where a controller keeps what it owns; ``--root`` moves all of it.

    :param root: ``/`` for the one controller of a machine, any directory for another.
    """

    root: Path = Path("/")

    @property
    def tftp(self) -> Path:
        """The network boot tree."""
        return self.root / "tftp"

    @property
    def state(self) -> Path:
        """The database, and what must survive a restart."""
        return self.root / "var/lib/terra"

    @property
    def work(self) -> Path:
        """Room for work that is large, such as kernels and whole trees: on a disk, the one that the images are on."""
        return self.state / "work"

    @property
    def etc(self) -> Path:
        """Configuration and the API's token."""
        return self.root / "etc/terra"

    @property
    def run(self) -> Path:
        """Mount points, locks and sockets, gone after a reboot."""
        return self.root / "run/terra"

    @property
    def token(self) -> Path:
        """The API's token."""
        return self.etc / "token"

    @property
    def tls(self) -> Path:
        """The controller's own certificate authority and certificate, which ``terra controller init`` makes."""
        return self.etc / "tls"

    @property
    def authority(self) -> Path:
        """The certificate of that authority, by which clients know the controller."""
        return self.tls / "ca.pem"

    @property
    def url(self) -> Path:
        """The URL of the API while the controller runs."""
        return self.run / "controller.url"

    @property
    def portal(self) -> Path:
        """What keepalived is told: until when the storage address may be on this host."""
        return self.run / "portal"


THIS_MACHINE = Paths()
"""Where the one controller of a machine keeps what it owns."""
