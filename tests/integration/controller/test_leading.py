"""Several controllers on one database in PostgreSQL: names, the lead, and what a killed or paused one may still do."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import evolve
from sqlalchemy import Engine, make_url, select, update
from sqlalchemy.exc import DBAPIError

from lab.postgresql import Postgresql
from terra_core.config.controller import Controller, Paths
from terra_core.config.session import Session
from terra_core.config.values import Hostname, PluginName
from terra_core.controller.daemon import require_reach
from terra_core.controller.database import controllers, identity_of, lead, nodes, open_database
from terra_core.controller.fence import fence
from terra_core.controller.host_session import HostSession, mark_sessions
from terra_core.controller.hosts import Doing, HostRows, Own, require_place
from terra_core.controller.leading import Lead
from terra_core.controller.machines import Machines
from terra_core.controller.mark import set_mark
from terra_core.controller.presence import claim_name
from terra_core.controller.store import Store
from terra_core.doctor.hosts import examine_hosts
from terra_core.doctor.records import read
from terra_core.errors import TerraError, UnavailableError
from terra_core.system.waiting import wait_until
from tests.unit.controller.fakes import ROLES, World, fake_plugins, make_site, node_document


class Member:
    """A controller's part of a database: its pool, its session, its lead.

    :param url: of the database.
    :param name: its name, of letters.
    """

    def __init__(self, url: str, name: str) -> None:
        self.own = Own(name=name, identity=name * 8, url=f"http://{name}:9000", portal="10.0.10.4", store="rbd", version="1")
        self.engine: Engine = open_database(url)
        mark_sessions(self.engine, self.own.identity)
        self.session = HostSession(self.engine.url, self.own.identity)
        self.deposed = threading.Event()
        self.lead = Lead(self.session, self.own, self.deposed.set)
        self.rows = HostRows(self.engine)
        fence(self.engine, self.lead)
        self.store = Store(self.engine)

    def close(self) -> None:
        """End its sessions, as those of a killed process end."""
        self.session.close()
        self.engine.dispose()


@contextmanager
def members(url: str, *names: str) -> Iterator[list[Member]]:
    found = [Member(url, name) for name in names]
    try:
        yield found
    finally:
        for member in found:
            member.close()


def reserve(store: Store) -> None:
    document = node_document()
    assert document.value.mac is not None
    store.reserve(document.value, document.raw, document.tables)


def later(engine: Engine, seconds: float) -> None:
    """Let whoever leads, and all hosts, be silent for longer."""
    with engine.begin() as connection:
        connection.execute(update(lead).values(seen=lead.c.seen - seconds))
        connection.execute(update(controllers).values(seen=controllers.c.seen - seconds))


def take(member: Member, seconds: float = 10) -> float:
    """Let a controller look until it leads; return how long that took, in seconds."""
    began = time.monotonic()

    def leads() -> bool:
        member.lead.look()
        return member.lead.held

    wait_until(leads, seconds=seconds, what="the lead")
    return time.monotonic() - began


def test_a_name_is_one_controllers_until_it_is_gone_or_silent(postgresql: Postgresql) -> None:
    with members(postgresql.make("names"), "a", "b") as (one, other):
        namesake = evolve(other.own, name="a")
        claim_name(one.session, one.own, one.rows)
        one.rows.announce(one.own, Doing.WORKING)
        with pytest.raises(TerraError, match="the controller at http://a:9000 has the name 'a'") as caught:
            claim_name(other.session, namesake, other.rows)
        assert "(name)" in caught.value.hint
        later(one.engine, 60)
        claim_name(other.session, namesake, other.rows)
        with pytest.raises(TerraError), one.session.asking() as connection:
            connection.execute(select(lead))
        other.session.close()
        claim_name(one.session, one.own, one.rows)


def test_two_sites_in_schemas_of_one_database_have_names_and_a_lead_of_their_own(postgresql: Postgresql) -> None:
    url = postgresql.make("sites")
    with members(url, "a", "b") as (one, beside):
        claim_name(one.session, one.own, one.rows)
        take(one)
        with one.engine.begin() as connection:
            connection.exec_driver_sql("create schema site_b")
        other_url = make_url(url).update_query_dict({"options": "-csearch_path=site_b"}).render_as_string(hide_password=False)
        with members(other_url, "a", "b") as (other, waiting):
            claim_name(other.session, other.own, other.rows)
            take(other, seconds=3)
            for member in (one, beside, other, waiting):
                member.lead.look()
            assert [member.lead.held for member in (one, beside, other, waiting)] == [True, False, True, False]


def test_two_who_drain_a_host_at_the_same_time_both_have_it_drained(postgresql: Postgresql) -> None:
    with members(postgresql.make("twice"), "a", "b") as (one, other):
        for member in (one, other):
            member.rows.announce(member.own, Doing.WAITING)
        with ThreadPoolExecutor(2) as pool:
            for _ in range(40):
                drains = [pool.submit(member.rows.drain, "a") for member in (one, other)]
                assert [drain.result().drained for drain in drains] == [True, True]
                one.rows.resume("a")


def test_a_killed_leader_is_followed_at_once(postgresql: Postgresql) -> None:
    with members(postgresql.make("killed"), "a", "b") as (one, other):
        take(one)
        other.lead.look()
        assert (one.lead.held, other.lead.held) == (True, False)
        one.rows.announce(one.own, Doing.WORKING)
        with pytest.raises(UnavailableError, match="a has the lead"):
            reserve(other.store)
        reserve(one.store)
        one.close()
        assert take(other) < 2
        assert other.lead.epoch == 2
        with pytest.raises(TerraError, match="the host name cm-01 belongs to cm-01"):
            reserve(other.store)


def test_what_a_paused_leader_had_not_committed_is_undone_and_what_it_writes_later_is_refused(postgresql: Postgresql) -> None:
    with members(postgresql.make("paused"), "a", "b") as (one, other):
        take(one)
        reserve(one.store)
        record = one.store.get("cm-01")
        with one.engine.connect() as connection:
            connection.execute(update(nodes).values(problem="written by who was paused"))
            later(other.engine, 7)
            assert take(other) < 3
            with pytest.raises(DBAPIError, match="terminat"):
                connection.commit()
        assert other.store.get("cm-01").problem == ""
        for _ in range(3):
            with pytest.raises(TerraError):
                one.store.set_problem(record, "written by who woke up")
        one.lead.look()
        assert (one.deposed.is_set(), one.lead.held) == (True, False)
        assert other.store.get("cm-01").problem == ""
        other.store.set_problem(record, "written by who leads")
        assert other.store.get("cm-01").problem == "written by who leads"


def test_the_lead_waits_for_what_was_begun_in_the_former_epoch(postgresql: Postgresql) -> None:
    with members(postgresql.make("begun"), "a", "b") as (one, other):
        take(one)
        reserve(one.store)
        with one.engine.begin() as connection:
            connection.execute(update(nodes).values(problem="begun in epoch 1"))
            one.session.close()  # its own session is gone, and this transaction is not
            other.lead.look()
            assert not other.lead.held, "it has the lock, and the epoch is not to be had yet"
            assert "begun in epoch 1" not in str(other.store.get("cm-01").problem)
        take(other)
        assert other.store.get("cm-01").problem == "begun in epoch 1"


def test_a_leader_whose_connection_is_cut_goes_on_when_nobody_led_meanwhile(postgresql: Postgresql) -> None:
    with members(postgresql.make("cut"), "a", "b") as (one, other):
        take(one)
        other.session.end_sessions(one.own.identity)
        with pytest.raises(TerraError), one.session.asking() as connection:
            connection.execute(select(lead))
        one.engine.dispose()
        one.lead.look()
        reserve(one.store)
        assert (one.lead.epoch, one.lead.held, one.deposed.is_set()) == (1, True, False)


def test_a_drained_leader_gives_the_lead_to_another_one_and_takes_it_no_more(postgresql: Postgresql) -> None:
    url = postgresql.make("drained")
    with members(url, "a", "b") as (one, other):
        for member in (one, other):
            member.rows.announce(member.own, Doing.WAITING)
        take(one)
        other.rows.drain("a")
        one.lead.look()
        assert (one.lead.leaving, one.lead.held) == (True, True)
        reserve(one.store)
        one.lead.give_back()
        with pytest.raises(UnavailableError):
            one.store.set_problem(one.store.get("cm-01"), "written by who has given the lead away")
        one.lead.look()
        assert take(other) < 2
        other.store.set_problem(other.store.get("cm-01"), "written by who leads")
        assert list(examine_hosts(read(url))) == []
        other.close()
        one.rows.beat(one.own, Doing.WAITING)
        one.lead.look()
        assert not one.lead.held, "nobody else is there, and it takes no lead all the same"
        one.rows.beat(other.own, Doing.STOPPED)
        (off,) = examine_hosts(read(url))
        assert off.hint == "let one lead again: terra host resume a"
        one.rows.resume("a")
        assert one.deposed.is_set() is False
        take(one, seconds=15)  # it was given back, and is not asked for at once


def test_a_host_that_could_not_take_over_is_refused(postgresql: Postgresql) -> None:
    with members(postgresql.make("places"), "a") as (one,):
        take(one)
        one.rows.announce(one.own, Doing.WORKING)
        with one.engine.begin() as connection:
            require_place(connection, "a", "10.0.10.9", "rbd", owns=True)
            require_place(connection, "b", "10.0.10.4", "rbd", owns=False)
            with pytest.raises(TerraError, match="the volumes of this database are a's") as caught:
                require_place(connection, "b", "10.0.10.4", "rbd", owns=True)
            assert "terra hosts --forget a" in caught.value.hint
            with pytest.raises(TerraError, match="of another version of Terra, and a works with it"):
                require_place(connection, "b", "10.0.10.4", "rbd", owns=False, migrates=True)
            with pytest.raises(TerraError, match=r"machines reach their disks at 10\.0\.10\.4"):
                require_place(connection, "b", "10.0.10.9", "rbd", owns=False)
            with pytest.raises(TerraError, match="volumes in the store 'rbd', and this controller in 'file'"):
                require_place(connection, "b", "10.0.10.4", "file", owns=False)
        later(one.engine, 60)
        with one.engine.begin() as connection, pytest.raises(TerraError, match="in the store 'rbd'"):
            require_place(connection, "b", "10.0.10.4", "file", owns=False)
        one.rows.beat(one.own, Doing.STOPPED)
        with one.engine.begin() as connection:  # the address and the store of all hosts can be changed while all are stopped
            require_place(connection, "b", "10.0.10.9", "file", owns=False)
            with pytest.raises(TerraError, match="the volumes of this database are a's"):
                require_place(connection, "b", "10.0.10.4", "rbd", owns=True)
            require_place(connection, "b", "10.0.10.4", "rbd", owns=False, migrates=True)


def test_a_host_without_the_volumes_of_machines_of_another_store_is_refused(postgresql: Postgresql, tmp_path: Path) -> None:
    engine = open_database(postgresql.make("elsewhere"))
    try:
        site = make_site(tmp_path / "a", World())
        services = evolve(site.services, store=Store(engine))
        machines = Machines(services)
        machines.provision(machines.reserve(node_document()), lambda event: None)
        rows, plugins = HostRows(engine), fake_plugins(site.world, other=World())
        there, here = Session(paths=site.paths), Session(paths=Paths(tmp_path / "b"))
        chosen = Controller(name=Hostname("b"), plugins={**ROLES, "store": PluginName("other")})
        require_reach(services.store, chosen, plugins, here)
        rows.announce(Own(name="a", identity="1a", url="", portal="", store="fake", version="1"), Doing.STOPPED)
        with pytest.raises(TerraError, match="have their volumes in the store 'fake' of another host, and not here"):
            require_reach(services.store, chosen, plugins, here)
        require_reach(services.store, evolve(chosen, name=Hostname("a")), plugins, there)
        with engine.begin() as connection:
            identity, _ = identity_of(connection)
        set_mark(tmp_path / "b/iscsi", identity)
        require_reach(services.store, chosen, plugins, here)
    finally:
        engine.dispose()


def test_a_silent_host_is_said_by_the_doctor(postgresql: Postgresql) -> None:
    url = postgresql.make("silent")
    with members(url, "a", "b") as (one, other):
        for member in (one, other):
            member.rows.announce(member.own, Doing.WAITING)
        assert list(examine_hosts(read(url))) == []
        later(one.engine, 30)
        other.rows.beat(other.own, Doing.WORKING)
        (off,) = examine_hosts(read(url))
        assert off.problem.startswith("the host a is silent")
        assert [(host.own.name, host.state) for host in one.rows.every()] == [("a", "silent"), ("b", "working")]
        one.rows.beat(one.own, Doing.STOPPED)
        assert list(examine_hosts(read(url))) == []
