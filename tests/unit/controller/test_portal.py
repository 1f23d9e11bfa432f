"""The storage address that moves: who is fenced, and when; what keepalived is told; its configuration."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from attrs import define, evolve
from sqlalchemy import insert, select

from terra_core.config.controller import Controller, Failover, Paths
from terra_core.config.loader import make_document
from terra_core.config.session import Session
from terra_core.config.values import Address, HostAddress
from terra_core.controller import portal
from terra_core.controller.database import controllers
from terra_core.controller.hosts import Doing, HostRows, Own
from terra_core.controller.keepalived import render
from terra_core.controller.keeping import Keeper
from terra_core.controller.machines import Machines
from terra_core.controller.portal import CLOSED, Moving, PortalFiles, priority_file, require_ready
from terra_core.controller.portal_check import leads
from terra_core.errors import ConfigError, ConflictError, TerraError, UnavailableError
from terra_core.hookspecs import Store
from tests.unit.controller.fakes import Site, World

OWN = Own(name="san-01", identity="1a", url="https://10.0.10.3:9000", portal="10.0.10.4", store="fake", version="1")
HOSTS = {"san-01": ("10.0.10.3",), "san-02": ("10.0.10.5", "10.0.20.5"), "san-03": ("10.0.10.7",)}
FAILOVER = Failover(hosts=cast("Mapping[str, tuple[HostAddress, ...]]", HOSTS), interface="eth0")


@define
class Standing:
    """Whether the host under test leads, as a test says."""

    held: bool = True
    leaving: bool = False
    serves_until: float = 0.0
    former_until: float = 0.0
    epoch: int = 7

    def require(self) -> None:
        """Refuse where it does not."""
        if not self.held:
            raise UnavailableError("another host leads")

    def give_back(self) -> None:
        """Lead no more."""
        self.held = False


@define
class Shelf:
    """A store that shuts hosts out, or cannot."""

    refused: list[tuple[str, bool]]
    said: TerraError | None = None

    def fence_host(self, address: Address, refused: bool, session: Session) -> None:
        """Take note of a host."""
        if self.said is not None:
            raise self.said
        self.refused.append((str(address), refused))


@define
class Host:
    """The host under test."""

    portal: Moving
    rows: HostRows
    standing: Standing
    shelf: Shelf
    paths: Paths
    stopped: list[bool]

    def add(self, name: str, state: str, identity: str = "9z") -> None:
        """Add a row of another host, which says that it is there now."""
        values = {"url": "", "portal": OWN.portal, "store": "fake", "version": "1", "started": 1.0, "seen": time.time()}
        with self.rows._engine.begin() as connection:  # a file has one controller by the rows' own ways
            connection.execute(insert(controllers).values(name=name, state=state, identity=identity, **values))

    def states(self) -> dict[str, str]:
        """Return the state of each host."""
        with self.rows._engine.begin() as connection:
            return {row.name: row.state for row in connection.execute(select(controllers))}

    def told(self) -> bool:
        """Return whether keepalived would bring the address here."""
        priority = priority_file(self.paths)
        return leads(str(self.paths.portal)) and priority.exists() and priority.read_text() != f"{CLOSED}\n"


@pytest.fixture
def host(site: Site, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Return a host that leads, whose address is dropped as soon as keepalived is told."""
    rows, standing, shelf, stopped = HostRows(site.store.engine), Standing(), Shelf([]), list[bool]()
    session = site.services.session
    session.paths.run.mkdir(parents=True, exist_ok=True)
    rows.announce(OWN, Doing.WAITING)
    moving = Moving(
        FAILOVER, OWN, rows, standing, cast("Store", shelf), session, lambda: stopped.append(made.told())
    )  # fmt: skip
    made = Host(moving, rows, standing, shelf, session.paths, stopped)
    monkeypatch.setattr(portal, "is_here", lambda address: made.told())
    return made


def test_who_may_serve_machines_still_is_fenced_once_it_had_the_time_to_stop(host: Host) -> None:
    for name, state in (("san-02", "working"), ("san-03", "waiting")):
        host.add(name, state)
    host.standing.former_until = time.monotonic() + 3600
    assert host.portal.take() is False
    assert host.shelf.refused == []
    assert host.states()["san-01"] == "working", "it says so before it exports anything"
    host.standing.former_until = time.monotonic()
    assert host.portal.take() is True
    assert host.shelf.refused == [("10.0.10.5", True), ("10.0.20.5", True)], "by all of its addresses"
    assert host.states() == {"san-01": "working", "san-02": "fenced", "san-03": "waiting"}
    assert host.portal.take() is True
    assert len(host.shelf.refused) == 2


def test_nobody_waits_where_the_former_one_ended_in_order(host: Host) -> None:
    host.add("san-02", "stopped")
    host.standing.former_until = time.monotonic() + 3600
    assert host.portal.take() is True
    assert (host.shelf.refused, host.states()["san-02"]) == ([], "stopped")


def test_no_disk_is_exported_while_the_former_one_may_write_to_it(host: Host) -> None:
    host.add("san-02", "working")
    host.shelf.said = TerraError("the store plugin cannot keep a host from writing")
    with pytest.raises(TerraError, match="san-02 may still write to the disks of machines, and is not fenced") as caught:
        host.portal.take()
    assert "terra hosts --forget san-02" in caught.value.hint
    assert host.states()["san-02"] == "working"
    host.shelf.said = None
    host.standing.held = False
    with pytest.raises(TerraError, match="another host leads"):
        host.portal.take()
    assert host.shelf.refused == [], "one that has lost the lead meanwhile shuts nobody out"


def test_a_host_that_the_table_does_not_name_cannot_be_fenced(host: Host) -> None:
    host.add("san-09", "working")
    with pytest.raises(TerraError, match=r"san-09 may still write to the disks of machines, and \[failover.hosts\] does not"):
        host.portal.take()


def test_keepalived_is_told_when_all_is_exported_and_for_as_long_as_the_lead_is_sure(host: Host) -> None:
    host.portal.look()
    assert not host.told()
    host.standing.serves_until = time.monotonic() + 3600
    host.portal.take()
    host.portal.look()
    assert leads(str(host.paths.portal))
    assert not host.told(), "nothing is exported yet"
    host.portal.open()
    assert host.told()
    assert priority_file(host.paths).read_text() == "7\n"
    assert float(host.paths.portal.read_text().split()[2]) < time.monotonic() + 60, "a paused controller says nothing new"
    host.standing.serves_until = time.monotonic()
    host.portal.look()
    assert not host.told()
    host.standing.serves_until = time.monotonic() + 3600
    host.portal.look()
    assert host.told()
    host.portal.leave()
    assert (host.told(), host.stopped) == (False, [False]), "first the address goes, then the disks"
    host.portal.look()
    assert not host.told()
    assert host.states()["san-01"] == "waiting"


def test_an_address_that_does_not_come_is_said(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portal, "is_here", lambda address: False)
    host.portal.require_here()
    host.standing.serves_until = time.monotonic() + 3600
    host.portal.open()
    host.portal.require_here()
    host.portal._come_by = time.monotonic()
    with pytest.raises(TerraError, match=r"10\.0\.10\.4 is not on this host, which leads") as caught:
        host.portal.require_here()
    assert "keepalived" in caught.value.hint


def test_what_a_controller_wrote_counts_while_it_lives(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    paths.run.mkdir(parents=True)
    files = PortalFiles(paths)
    files.write(time.monotonic() + 3600, 5)
    assert leads(str(paths.portal))
    assert priority_file(paths).read_text() == "5\n"
    pid, started, until = paths.portal.read_text().split()
    assert pid == str(os.getpid())
    others = (f"{pid} {int(started) + 1} {until}", f"4194304 {started} {until}", f"{pid} {started} 1.0", f"{pid} {started}")
    for text in (*others, "", "a b c", "\0"):
        paths.portal.write_text(text)
        assert not leads(str(paths.portal)), text
    paths.portal.unlink()
    assert not leads(str(paths.portal))
    files.close()
    assert priority_file(paths).read_text() == "-254\n"


def test_a_fenced_host_is_let_in_by_all_of_its_addresses_once_it_has_started_again(host: Host) -> None:
    host.add("san-02", "fenced", identity="")
    with pytest.raises(ConflictError, match="has not started since"):
        host.portal.unfence("san-02")
    host.add("san-03", "fenced", identity="3c")
    assert host.portal.unfence("san-03").state == "waiting"
    assert host.shelf.refused == [("10.0.10.7", False)]
    host.add("san-04", "fenced", identity="4d")
    with pytest.raises(ConflictError, match=r"by which addresses san-04 is shut out: \[failover\.hosts\] does not name it"):
        host.portal.unfence("san-04")
    assert host.states()["san-04"] == "fenced"


def test_a_host_that_leads_exports_all_before_the_address_comes_and_finishes_what_was_begun_afterwards(
    host: Host, site: Site, world: World
) -> None:
    site.provision()
    site.begin(hostname="cm-02", mac="02:00:00:00:00:02")
    world.exported.clear()
    world.storage_runs = False
    host.standing.serves_until = time.monotonic() + 3600
    services = evolve(site.services, standing=cast("Any", host.standing), portal=host.portal)
    keeper = Keeper(Machines(services))
    keeper.wait_for_lead()
    host.add("san-02", "working")
    host.standing.former_until = time.monotonic() + 3600
    keeper.look()
    assert not keeper.works
    assert (world.storage_runs, world.exported, host.told()) == (True, {}, False), "it is started, and nobody reaches it"
    host.standing.former_until = 0.0
    told: dict[str, bool] = {}

    def note(hook: str) -> None:
        told.setdefault(hook, host.told())

    world.before = note
    keeper.look()
    assert keeper.works
    assert host.shelf.refused == [("10.0.10.5", True), ("10.0.20.5", True)]
    assert (told["start_boot"], told["restore_target"], told["withdraw_boot"]) == (False, False, True)
    assert told["publish_boot"], "machines that run wait for their disks, and for nothing else"
    assert host.told()


def test_a_host_that_cannot_begin_gives_the_lead_back_with_nothing_exported(host: Host, site: Site, world: World) -> None:
    host.add("san-02", "working")
    host.shelf.said = TerraError("the cluster does not answer")
    keeper = Keeper(Machines(evolve(site.services, standing=cast("Any", host.standing), portal=host.portal)))
    keeper.wait_for_lead()
    keeper.look()
    assert (keeper.works, host.standing.held, host.portal.taken, host.stopped) == (False, False, False, [False])
    assert host.states() == {"san-01": "waiting", "san-02": "working"}


def test_the_configuration_of_keepalived_names_the_hosts_and_the_address(tmp_path: Path) -> None:
    text = render(FAILOVER, "san-02", Address("10.0.10.4"), Paths(tmp_path))
    assert "unicast_src_ip 10.0.10.5\n" in text
    assert "unicast_peer {\n        10.0.10.3\n        10.0.10.7\n    }" in text
    assert "10.0.10.4/32 dev eth0" in text, "with a shorter prefix, this host would speak to the store by it"
    assert f'portal_check.py {tmp_path}/run/terra/portal"' in text
    assert text.count("{") == text.count("}")


def test_a_host_is_ready_where_the_table_names_it_and_its_kernel_lets_it_export_first(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected this host, san-09, among san-01"):
        require_ready(FAILOVER, evolve(OWN, name="san-09"), tmp_path, has_all)
    with pytest.raises(TerraError, match=r"net\.ipv4\.ip_nonlocal_bind = 0 forbids"):
        require_ready(FAILOVER, OWN, tmp_path, has_all)
    (tmp_path / "net/ipv4").mkdir(parents=True)
    (tmp_path / "net/ipv4/ip_nonlocal_bind").write_text("1\n")
    require_ready(FAILOVER, OWN, tmp_path, has_all)


def has_all(_: Address) -> bool:
    """Say that this machine has an address."""
    return True


def test_a_table_of_another_host_is_refused_as_its_addresses_are_not_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net/ipv4").mkdir(parents=True)
    (tmp_path / "net/ipv4/ip_nonlocal_bind").write_text("1\n")
    own = evolve(OWN, name="san-02")
    with pytest.raises(ConfigError, match=r"hosts\.san-02: expected first an address of this machine.*got 10\.0\.10\.5"):
        require_ready(FAILOVER, own, tmp_path, lambda address: address == "10.0.20.5")
    require_ready(FAILOVER, own, tmp_path, lambda address: address == "10.0.10.5")
    assert "10.0.20.5" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["a b", 'a"b', "a#b", "a!b", "$a", "a{b", "a'b"])
def test_a_path_that_keepalived_would_take_for_something_else_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(TerraError, match=r"keepalived\.conf takes no path with such characters"):
        render(FAILOVER, "san-02", Address("10.0.10.4"), Paths(tmp_path / name))


BASE: dict[str, Any] = {
    "address": "10.0.10.3",
    "storage_address": "10.0.10.4",
    "database": "postgresql+psycopg://terra@db/terra",
    "failover": {"interface": "eth0", "hosts": {"san-01": ["10.0.10.3"], "san-02": ["10.0.10.5"]}},
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"storage_address": None}, "storage_address: expected the address that moves"),
        ({"storage_address": "10.0.10.3"}, "storage_address: expected an address that moves, and not this host's own"),
        ({"database": None}, "database: expected a database in PostgreSQL"),
        ({"failover": {"interface": "eth0", "router": 256, "hosts": {}}}, "failover.router: expected a number from 1 to 255"),
        ({"failover": {"interface": "eth 0", "hosts": {}}}, "failover.interface: expected the name of a network interface"),
        ({"failover": {"interface": "eth0", "hosts": {"san_01": ["10.0.10.3"]}}}, "failover.hosts: 'san_01'"),
        ({"failover": {"interface": "eth0", "hosts": {"san-01": []}}}, "failover.hosts.san-01: expected at least one address"),
        ({"failover": {"interface": "eth0", "hosts": {"a": ["10.0.10.5"], "b": ["10.0.10.5"]}}}, "is an address of a already"),
        ({"failover": {"interface": "eth0", "hosts": {"a": ["10.0.10.4"]}}}, "10.0.10.4 is the address that moves"),
        ({"failover": {"interface": "eth0", "hosts": {"a": ["10.0.10.400"]}}}, "failover.hosts.a[0]"),
        ({"failover": {"interface": "eth0", "hosts": {"a": ["fd00::1"]}}}, "failover.hosts.a: expected an IPv4 address first"),
        ({"storage_address": "fd00::4"}, "failover.hosts.san-01: expected an IPv6 address first, as fd00::4 is one"),
    ],
)
def test_a_wrong_table_is_refused_by_its_key(change: dict[str, Any], said: str) -> None:
    assert make_document(BASE, Controller, source="controller.toml").value.failover is not None
    table = {key: value for key, value in (BASE | change).items() if value is not None}
    with pytest.raises(ConfigError) as caught:
        make_document(table, Controller, source="controller.toml")
    assert said in caught.value.message
