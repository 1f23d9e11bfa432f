"""Two hosts on one cluster and one database, and the faults of the one that serves: it is killed, cut off, or paused."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from attrs import frozen
from sqlalchemy import NullPool, create_engine

from lab.ceph import Ceph
from lab.hosts import Host, party
from lab.network import Network
from lab.postgresql import Postgresql
from lab.registry import Registry
from terra_core.errors import TerraError
from terra_core.system.waiting import wait_until

ADDRESSES = {"host-a": "10.0.10.31", "host-b": "10.0.10.32"}
MACHINE = "cm-01"
"""The name of the machine."""
GOES_ON = 20
"""So many acknowledged writes after a fault say that a client goes on."""
LIMIT = 120.0
PAUSE = 60.0
"""For how long a host is paused, in seconds: all that others gave it is over by then."""


class Client(Protocol):
    """Who writes to a disk of the machine all the time."""

    @property
    def begun(self) -> int:
        """The number of the last write that was begun."""

    def stalled(self) -> float:
        """Return the longest time that a write has taken since this was asked last, in seconds."""

    def goes_on(self, after: int) -> bool:
        """Return whether it has gone on for some writes.

        :param after: the number of the write before.
        :raises TerraError: when it got an error.
        """


class Site:
    """Both hosts.

    :param hosts: by name.
    :param server: that of their database.
    :param url: of the database.
    :param network: where its server is.
    :param work: a directory, which everybody may pass.
    """

    def __init__(self, hosts: dict[str, Host], server: Postgresql, url: str, network: Network, work: Path) -> None:
        self.hosts, self.server, self.work, self._url, self._network = hosts, server, work, url, network

    def wait(self, probe: Callable[[], bool], what: str) -> None:
        """Wait for something.

        :raises TerraError: when it does not come; with the ends of all logs.
        """
        try:
            wait_until(probe, seconds=LIMIT, what=what, interval=0.1)
        except TerraError as error:
            raise TerraError(f"{error.message}\n" + "\n".join(host.tail() for host in self.hosts.values())) from error

    def leader(self) -> Host:
        """Wait until a host serves, and return it."""
        found: list[Host] = []

        def serves() -> bool:
            found.extend(host for host in self.hosts.values() if host.serves())
            return bool(found)

        self.wait(serves, "a host to serve")
        return found[0]

    def other(self, than: Host) -> Host:
        """Return the other host."""
        return next(host for host in self.hosts.values() if host is not than)

    def target(self, label: str) -> dict[str, Any]:
        """Return a target of the machine, as the database has it."""
        engine = create_engine(self._url, poolclass=NullPool)
        try:
            with self._network.inside(), engine.connect() as connection:
                text = connection.exec_driver_sql("select cast(targets as text) from nodes").scalar()
        finally:
            engine.dispose()
        found: dict[str, Any] = next(
            kept["target"] for kept in json.loads(str(text)) if kept["target"]["label"] == label
        )  # fmt: skip
        return found


@contextmanager
def started(network: Network, ceph: Ceph, registry: Registry, *, more: str = "") -> Iterator[Site]:
    """Start both hosts, with a new database and an empty pool.

    :param more: further keys of their controller.toml.
    """
    with party(ADDRESSES, "portal", ceph, registry, network, more=more, begin=begin) as both:
        yield Site(both.hosts, both.server, both.url, network, both.work)


def begin(host: Host) -> None:
    """Start controller and keepalived, as their units do."""
    host.start()
    host.start_keepalived()


def fail(host: Host, how: str) -> None:
    """Let a host fail."""
    if how == "killed":
        host.kill()
    elif how == "cut off":
        host.cut()
    else:
        host.signal(signal.SIGSTOP)


def come_back(host: Host, how: str) -> None:
    """Let a host come back, whose unit starts its controller again when that has ended."""
    if how == "cut off":
        host.join()
    elif how == "paused":
        host.signal(signal.SIGCONT)
    if how != "killed":
        assert host.controller.wait(30) != 0, "its controller ends by itself"
    begin(host)


@frozen
class Seen:
    """What a fault did.

    :param stall: for how long the client stood still, in seconds.
    :param move: after how long the portal was at the other host, in seconds.
    """

    stall: float
    move: float


def survive(site: Site, client: Client, how: str) -> Seen:
    """Let the host that serves fail, see the other one serve and the client go on, and let the former one in again."""
    leader = site.leader()
    other = site.other(leader)
    wait_until(lambda: other.is_said_to_be(other, "waiting"), seconds=LIMIT, what="the other host to wait")
    client.stalled()
    began = time.monotonic()
    fail(leader, how)
    site.wait(other.serves, f"the other host to serve: {how}")
    move = time.monotonic() - began
    at = client.begun
    site.wait(lambda: client.goes_on(at), f"the client to go on: {how}")
    stall = client.stalled()
    assert other.is_said_to_be(leader, "fenced")
    if how == "paused":
        site.wait(lambda: time.monotonic() - began > PAUSE, "its time to be over")
    come_back(leader, how)
    site.wait(lambda: leader.is_said_to_be(leader, "fenced"), "the former host to be there")
    site.wait(lambda: not leader.has_portal(), "the former host to drop the portal")
    assert "tgtd" not in leader.names()
    assert other.serves()
    status, said = leader.ask(f"/v1/nodes/{MACHINE}", "DELETE")
    assert status == 409, f"it changes nothing, and gives the answer of who leads, whose machine runs: {said}"
    assert "is let in again" in other.terra("hosts", "--unfence", leader.label).stderr.decode()
    return Seen(stall, move)
