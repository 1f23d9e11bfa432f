"""The storage address that moves with the lead: who had it is fenced, then all is exported, then keepalived puts it here.

The lead decides, and keepalived follows: two who decide would disagree (decision 0098). What keepalived looks at are two files:
whether this host leads, which :mod:`terra_core.controller.portal_check` reads every second, and its priority, which keepalived
reads as soon as it changes.
"""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import structlog

from terra_core.config.controller import Failover, Paths
from terra_core.config.session import Session
from terra_core.config.values import Address
from terra_core.controller.hosts import Doing, Host, HostRows, Own
from terra_core.controller.leading import PATIENCE_SECONDS, Standing
from terra_core.errors import ConfigError, ConflictError, TerraError
from terra_core.hookspecs import Store
from terra_core.system.files import write_file
from terra_core.system.process import run
from terra_core.system.processes import start_time
from terra_core.system.waiting import WaitedInVain, wait_until

_log = structlog.get_logger(__name__)
LOOK_SECONDS = 1.0
"""How often keepalived is told again that the address may be here."""
PRIORITIES = 100
"""So many epochs have priorities of VRRP of their own: of two hosts that believe to lead, the later one gets the address."""
CLOSED = -254
"""The priority of a host that has no part in VRRP (keepalived.conf(5), "Track files")."""
_DROP_SECONDS = 6.0
_COME_SECONDS = 15.0
_SYSCTL = {4: "net.ipv4.ip_nonlocal_bind", 6: "net.ipv6.ip_nonlocal_bind"}


class Portal(Protocol):
    """The address that machines reach their disks at.

    :cvar moves: whether it moves with the lead.
    :cvar taken: whether this host may have begun to export disks.
    """

    moves: bool
    taken: bool

    def take(self) -> bool:
        """Shut those out who may have it still; return whether disks may be exported here. Called until they may.

        :raises TerraError: when one of them cannot be shut out.
        """

    def open(self) -> None:
        """Let the address come here: all disks are exported."""

    def look(self) -> None:
        """Say again that the address may be here, while that is so; called every second."""

    def require_here(self) -> None:
        """Check that the address is here.

        :raises TerraError: when it is not, some time after it was let come.
        """

    def leave(self) -> None:
        """Let the address go, and then the disks.

        :raises TerraError: when the storage service cannot be stopped.
        """

    def unfence(self, name: str) -> Host:
        """Let a host in again that was shut out.

        :raises ConflictError: when it is not shut out, or may have volumes open still.
        """


class Staying:
    """An address that is this host's."""

    moves = False
    taken = False

    def take(self) -> bool:
        """Return that disks may be exported."""
        return True

    def open(self) -> None:
        """Do nothing: the address is here."""

    def look(self) -> None:
        """Do nothing, as above."""

    def require_here(self) -> None:
        """Do nothing: the storage service says so itself."""

    def leave(self) -> None:
        """Do nothing: the storage service outlives the controller."""

    def unfence(self, name: str) -> Host:
        """Refuse: no host was shut out."""
        hint = "see [failover] of controller.toml"
        raise ConflictError(f"{name}: no host is fenced where the storage address does not move", hint=hint)


class Moving:
    """An address that is on the host that leads. May be used from several threads.

    :param failover: the hosts.
    :param own: this controller.
    :param rows: the rows of all controllers.
    :param standing: whether this one leads.
    :param store: shuts hosts out.
    :param session: of this controller.
    :param stop: stops the storage services of this host.
    """

    moves = True

    def __init__(
        self,
        failover: Failover,
        own: Own,
        rows: HostRows,
        standing: Standing,
        store: Store,
        session: Session,
        stop: Callable[[], object],
    ) -> None:
        self._failover, self._own, self._rows, self._standing = failover, own, rows, standing
        self._store, self._session, self._stop = store, session, stop
        self._files = PortalFiles(session.paths)
        self._opened = False
        self._come_by = 0.0
        self.taken = False

    def take(self) -> bool:
        """Shut those out who may have it still, once they have had the time to drop the address by themselves.

        Before that, their machines would get errors instead of no answer.
        """
        if not self.taken:
            self.taken = True
            self._rows.beat(self._own, Doing.WORKING)  # before anything is exported: who comes next shuts this host out
            self.look()
        serving = self._rows.serving(self._own)
        if serving and time.monotonic() < self._standing.former_until:
            return False
        for name in serving:
            self._fence(name)
        return self._standing.held

    def _fence(self, name: str) -> None:
        risk = f"{name} may still write to the disks of machines"
        surely = f"where it is switched off for certain: terra hosts --forget {name}"
        addresses = self._failover.hosts.get(name)
        if not addresses:
            raise TerraError(f"{risk}, and [failover.hosts] does not name it", hint=f"add its addresses there; {surely}")
        try:
            for address in addresses:
                self._standing.require()
                self._store.fence_host(address, True, self._session)
        except TerraError as error:
            hint = "; ".join(filter(None, (error.hint, surely)))
            raise TerraError(f"{risk}, and is not fenced: {error.message}", hint=hint) from error
        self._rows.fence(name)
        _log.warning("a host is fenced, for this one takes its place", name=name, addresses=", ".join(addresses))

    def open(self) -> None:
        """Let the address come here."""
        if not self._opened:
            _log.info("all disks are exported, and the storage address may come here", address=self._own.portal)
            self._come_by = time.monotonic() + _COME_SECONDS
        self._opened = True
        self.look()

    def look(self) -> None:
        """Say again that this host leads; once its controller does not, or is not there, nobody says so."""
        until = self._standing.serves_until
        if self.taken and time.monotonic() < until:
            self._files.write(until, self._standing.epoch % PRIORITIES if self._opened else CLOSED)
        else:
            self._files.close()

    def require_here(self) -> None:
        """Check that keepalived has put the address here."""
        if self._opened and time.monotonic() >= self._come_by and not is_here(self._own.portal):
            raise TerraError(
                f"{self._own.portal} is not on this host, which leads, and no machine reaches its disks",
                hint="does keepalived run here, with what terra controller keepalived prints? See its journal",
            )

    def leave(self) -> None:
        """Let the address go, and then the disks: a machine that boots gives up where its target is not found."""
        self._opened = False
        self._files.close()
        try:
            wait_until(lambda: not is_here(self._own.portal), seconds=_DROP_SECONDS, what=f"{self._own.portal} to be dropped")
        except WaitedInVain:
            _log.warning("the storage address is here still: does keepalived run?", address=self._own.portal)
        self._stop()
        self.taken = False
        with suppress(TerraError):  # the next sign of life says the same
            self._rows.beat(self._own, Doing.WAITING)

    def unfence(self, name: str) -> Host:
        """Let a host in again that was shut out, and has started again since."""
        self._rows.require_returned(name)
        addresses = self._failover.hosts.get(name)
        if not addresses:
            said = f"{self._own.name} does not know by which addresses {name} is shut out: [failover.hosts] does not name it"
            raise ConflictError(said, hint="add its addresses there, the same on all hosts")
        for address in addresses:
            self._store.fence_host(address, False, self._session)
        _log.info("a host is let in again", name=name)
        return self._rows.let_in(name)


class PortalFiles:
    """What keepalived looks at on this host.

    :param paths: of the controller.
    """

    def __init__(self, paths: Paths) -> None:
        self._file, self._priority = paths.portal, priority_file(paths)
        self._process = f"{os.getpid()} {start_time(os.getpid())}"
        self._said: int | None = None

    def write(self, until: float, priority: int) -> None:
        """Say that this host leads for some seconds more, unless this process ends before.

        :param until: the end of that time, by the monotonic clock; at most as far ahead as a lead is sure.
        :param priority: what is added to this host's priority; :data:`CLOSED` where the address may not be here yet.
        """
        with suppress(OSError):  # a full disk: the address goes elsewhere
            self._prefer(priority)
            until = min(until, time.monotonic() + PATIENCE_SECONDS)
            write_file(self._file, f"{self._process} {until:.3f}\n".encode(), mode=0o644)

    def close(self) -> None:
        """Say that the address may not be here."""
        self._file.unlink(missing_ok=True)
        with suppress(OSError):
            self._prefer(CLOSED)

    def _prefer(self, priority: int) -> None:
        if priority != self._said:
            write_file(self._priority, f"{priority}\n".encode(), mode=0o644)
            self._said = priority


def priority_file(paths: Paths) -> Path:
    """Return the file with what is added to this host's priority of VRRP."""
    return paths.portal.with_name("portal.priority")


def is_here(address: Address | str) -> bool:
    """Return whether an interface of this machine has an address."""
    return bool(run(["ip", "-oneline", "address", "show", "to", written(address)]).text.strip())


def written(address: Address | str) -> str:
    """Return an address with its full prefix length: with a shorter one, this host would speak to the store by it."""
    return f"{address}/{ipaddress.ip_address(address).max_prefixlen}"


def require_named(failover: Failover, name: str) -> None:
    """Check that a host is one of those that the storage address moves between.

    :raises ConfigError: when it is not.
    """
    if name not in failover.hosts:
        raise ConfigError([f"failover.hosts: expected this host, {name}, among {', '.join(failover.hosts) or 'none'}"])


def require_ready(
    failover: Failover, own: Own, sysctls: Path = Path("/proc/sys"), here: Callable[[Address], bool] = is_here
) -> None:
    """Check that the storage address can move to this host.

    :param sysctls: where the parameters of the kernel are.
    :param here: says whether this machine has an address.
    :raises TerraError: when the hosts do not have this one, it has other addresses than they say, or nothing can be exported
        before the storage address is here.
    """
    require_named(failover, own.name)
    absent = [address for address in failover.hosts[own.name] if not here(address)]
    if failover.hosts[own.name][0] in absent:
        expected = "expected first an address of this machine, which keepalived speaks from"
        raise ConfigError([f"failover.hosts.{own.name}: {expected}, got {absent[0]}"])
    if absent:  # what changes addresses on the way to the store may have it
        _log.warning("addresses by which this host is to be fenced are not this machine's", addresses=", ".join(absent))
    name = _SYSCTL[ipaddress.ip_address(own.portal).version]
    path = sysctls / name.replace(".", "/")
    if not path.exists() or path.read_text().strip() == "0":
        raise TerraError(
            f"{own.portal}: the disks of machines are exported before this address comes here, which {name} = 0 forbids",
            hint=f"echo {name}=1 > /etc/sysctl.d/90-terra.conf && sysctl --system",
        )
