"""Who leads: taken, confirmed, lost, given back, and taken over from who says nothing. PostgreSQL's part is in memory here."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from attrs import define, evolve
from litestar.testing import TestClient
from sqlalchemy import Connection, Engine, insert, select, update

from terra_core.controller import leading, network_boot
from terra_core.controller.api import Context, make_api
from terra_core.controller.database import controllers, lead, nodes
from terra_core.controller.fence import fence
from terra_core.controller.host_session import ASKING_SECONDS
from terra_core.controller.hosts import Doing, HostRows, Own
from terra_core.controller.keeping import Keeper
from terra_core.controller.leading import LETTING_GO_SECONDS, LOOK_SECONDS, PATIENCE_SECONDS, Lead
from terra_core.controller.machines import Machines
from terra_core.controller.network_boot import NetworkBoot
from terra_core.controller.store import Store
from terra_core.errors import ConflictError, TerraError, UnavailableError
from terra_core.service.database_server import DatabaseAway
from terra_core.system.waiting import wait_until
from tests.unit.controller.fakes import Site, World, node_table

TOKEN = "the-token-of-this-test"


@define
class Clock:
    """The monotonic clock of the module under test."""

    now: float = 1000.0

    def monotonic(self) -> float:
        """Return its time."""
        return self.now


class Session:
    """A session whose locks are in a dictionary that several share."""

    def __init__(self, engine: Engine, identity: str, locks: dict[object, str]) -> None:
        self._engine, self._identity, self._locks = engine, identity, locks
        self.away = False
        self.reason = TerraError("the database does not answer")
        self.is_open = False

    @contextmanager
    def asking(self) -> Iterator[Connection]:
        """Offer a connection, unless the database is away."""
        if self.away:
            self.cut()
            raise self.reason
        self.is_open = True
        with self._engine.begin() as connection:
            yield connection

    def try_lock(self, lock: object) -> bool:
        """Take a lock that nobody else has."""
        with self.asking():
            return self._locks.setdefault(lock, self._identity) == self._identity

    def unlock(self, lock: object) -> None:
        """Give a lock back."""
        del self._locks[lock]

    def end_sessions(self, identity: str) -> int:
        """Free the locks of another one."""
        for lock in [lock for lock, holder in self._locks.items() if holder == identity]:
            del self._locks[lock]
        return 1

    def cut(self) -> None:
        """Lose the connection, as the server notices it."""
        self.is_open = False
        self.end_sessions(self._identity)


@define
class Member:
    """A controller of the database."""

    session: Session
    lead: Lead
    deposed: list[str]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Let the time of leads stand still until a test changes it, that of the database too."""
    clock = Clock()
    monkeypatch.setattr(leading, "time", clock)
    monkeypatch.setattr(leading, "present", lambda connection: clock.now)
    return clock


@pytest.fixture
def members(site: Site, clock: Clock) -> tuple[Member, Member]:
    """Return two controllers of a database."""
    locks: dict[object, str] = {}
    found = []
    for name in ("a", "b"):
        own = Own(name=name, identity=name * 8, url=f"http://{name}:9000", portal="", store="file", version="1")
        session, deposed = Session(site.store.engine, own.identity, locks), list[str]()
        made: Any = session  # it has what a lead needs of a session
        found.append(Member(session, Lead(made, own, partial(deposed.append, "ended")), deposed))
    return found[0], found[1]


def row_of(site: Site) -> tuple[int, str]:
    with site.store.engine.begin() as connection:
        row = connection.execute(select(lead)).one()
    return row.epoch, row.name


def test_who_asks_first_leads_and_the_other_one_waits(members: tuple[Member, Member], site: Site) -> None:
    one, other = members
    for member in (one, other, one, other):
        member.lead.look()
    assert (one.lead.held, other.lead.held) == (True, False)
    assert row_of(site) == (1, "a")
    one.lead.require()
    with pytest.raises(UnavailableError, match="b waits for the lead, which nobody has now"):
        other.lead.require()


def test_who_waits_names_who_leads(members: tuple[Member, Member], site: Site) -> None:
    one, other = members
    one.lead.look()
    other.lead.look()
    rows = HostRows(site.store.engine)
    rows.announce(Own(name="a", identity="a" * 8, url="http://a:9000", portal="", store="", version=""), Doing.WORKING)
    with pytest.raises(UnavailableError, match="b waits, and changes nothing: a has the lead") as caught:
        other.lead.require()
    assert "http://a:9000" in caught.value.hint


def test_a_killed_leader_is_followed_at_once_in_the_next_epoch(members: tuple[Member, Member], site: Site) -> None:
    one, other = members
    one.lead.look()
    one.session.cut()
    other.lead.look()
    assert other.lead.held
    assert row_of(site) == (2, "b")


def test_a_paused_leader_is_followed_and_ends_when_it_wakes_up(
    members: tuple[Member, Member], site: Site, clock: Clock
) -> None:
    one, other = members
    one.lead.look()
    clock.now += PATIENCE_SECONDS - 0.5
    other.lead.look()
    other.lead.look()
    assert one.lead.held, "it was slow, and nobody took the lead from it"
    assert not other.lead.held
    clock.now += 1
    assert not one.lead.held, "it knows before anybody tells it"
    other.lead.look()
    other.lead.look()
    assert other.lead.held
    one.lead.look()
    one.lead.look()
    assert (one.deposed, one.lead.held) == (["ended"], False), "it is said once"
    with pytest.raises(UnavailableError, match="another controller has the lead"):
        one.lead.require()
    assert row_of(site) == (2, "b")


def test_a_connection_that_is_lost_is_the_lead_lost_until_it_is_had_again(members: tuple[Member, Member], site: Site) -> None:
    one, _ = members
    one.lead.look()
    one.session.away = True
    one.lead.look()
    assert not one.lead.held
    with pytest.raises(UnavailableError, match="a is not sure of the lead: the database does not answer"):
        one.lead.require()
    one.session.away = False
    one.lead.look()
    assert one.lead.held
    assert (row_of(site), one.deposed) == ((1, "a"), []), "nobody has led meanwhile"


def test_who_was_cut_off_while_another_one_led_ends(members: tuple[Member, Member], site: Site) -> None:
    one, other = members
    one.lead.look()
    one.session.away = True
    one.lead.look()
    other.lead.look()
    other.session.cut()
    one.session.away = False
    one.lead.look()
    assert (one.deposed, one.lead.held) == (["ended"], False)


def test_the_lead_is_given_back_and_not_asked_for_at_once(members: tuple[Member, Member], site: Site, clock: Clock) -> None:
    one, other = members
    one.lead.look()
    one.lead.give_back()
    assert not one.lead.held
    for member in (one, one, other):
        member.lead.look()
    assert other.lead.held
    other.session.cut()
    other.session.away = True
    one.lead.look()
    assert not one.lead.held
    clock.now += 11
    one.lead.look()
    assert (one.lead.held, one.deposed, row_of(site)) == (True, [], (3, "a"))


def test_who_led_goes_on_after_the_database_was_away_and_keeps_the_disks_of_machines_while_it_runs_for_nobody(
    members: tuple[Member, Member], clock: Clock
) -> None:
    one, other = members
    one.lead.look()
    for member in members:
        member.session.away = True
        member.session.reason = DatabaseAway("the database does not answer now: connection failed: Connection refused")
    for _ in range(60):
        clock.now += 1
        for member in members:
            member.lead.look()
    assert not one.lead.held
    assert one.lead.serves_until == clock.now + PATIENCE_SECONDS, "nobody else can lead"
    for member in members:
        member.session.away = False
    back = clock.now
    while clock.now < back + ASKING_SECONDS + LOOK_SECONDS:
        other.lead.look()
        clock.now += 0.9
    assert not other.lead.held, "who led may be waiting for an answer still to what it asked before the database was back"
    one.lead.look()
    assert one.lead.held
    assert one.lead.epoch == 1


def test_why_a_host_that_waits_cannot_ask_for_the_lead_is_logged_once(
    members: tuple[Member, Member], clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = members
    one.lead.look()
    capsys.readouterr()
    other.session.away = True
    for reason in ("must be a member of the role whose process is being terminated", "permission denied for table lead"):
        other.session.reason = TerraError(reason)
        for _ in range(5):
            clock.now += 1
            other.lead.look()
        assert capsys.readouterr().out.count(reason) == 1


def test_who_hears_nothing_of_the_database_lets_the_disks_of_machines_go(members: tuple[Member, Member], clock: Clock) -> None:
    one, _ = members
    one.lead.look()
    until = one.lead.serves_until
    for said in ("timeout expired", "No route to host, and by another address Connection refused timed out"):
        one.session.away, one.session.reason = True, DatabaseAway(f"the database does not answer now: {said}")
        clock.now += 1
        one.lead.look()
        assert one.lead.serves_until == until, "another one may lead by then"
    one.session.reason = DatabaseAway("the database does not answer now: Connection refused")
    clock.now = until + 1
    one.lead.look()
    assert one.lead.serves_until == until, "what was not sure for some time stays so"


@pytest.mark.parametrize("killed", [True, False])
def test_a_host_that_takes_the_lead_knows_until_when_the_former_one_may_serve_machines(
    members: tuple[Member, Member], clock: Clock, killed: bool
) -> None:
    one, other = members
    one.lead.look()
    assert one.lead.former_until == 0.0, "nobody led before"
    seen = clock.now
    if killed:
        one.session.cut()
    else:
        clock.now += PATIENCE_SECONDS + 0.5
        other.lead.look()
    other.lead.look()
    assert other.lead.held
    until = clock.now if killed else seen + PATIENCE_SECONDS
    assert other.lead.former_until == until + LETTING_GO_SECONDS, "who was silent may believe that it leads"


def test_a_host_that_is_fenced_does_not_ask_for_the_lead(members: tuple[Member, Member], site: Site) -> None:
    one, other = members
    rows = HostRows(site.store.engine)
    rows.announce(Own(name="b", identity="b" * 8, url="", portal="", store="", version=""), Doing.WAITING)
    rows.fence("b")
    one.lead.look()
    one.session.cut()
    other.lead.look()
    assert not other.lead.held
    with pytest.raises(UnavailableError, match="b is fenced, and changes nothing") as caught:
        other.lead.require()
    assert "terra hosts --unfence b" in caught.value.hint
    rows.let_in("b")
    other.lead.look()
    assert other.lead.held


def test_nothing_is_written_without_the_lead(members: tuple[Member, Member], site: Site) -> None:
    one, _ = members
    engine = site.store.engine
    fence(engine, one.lead)
    one.session.away = True  # this file has one connection, which the statement has that asks
    with pytest.raises(TerraError, match="does not answer"):
        site.begin()
    one.session.away = False
    assert not site.store.every()
    one.lead.look()
    record = site.begin()
    with engine.begin() as connection:  # another host has taken the lead, and this one does not know
        connection.execute(update(lead).values(epoch=2, name="b"))
    with pytest.raises(UnavailableError, match="another host leads by now"):
        site.store.set_problem(record, "a problem")
    with pytest.raises(UnavailableError, match="another host leads by now"), engine.begin() as connection:
        connection.exec_driver_sql("delete from nodes")
    HostRows(engine).announce(Own(name="a", identity="a", url="", portal="", store="", version=""), Doing.WAITING)
    with engine.begin() as connection:
        assert connection.scalars(select(nodes.c.problem)).all() == [""]


def test_who_waits_answers_what_only_reads_and_begins_when_it_leads(
    members: tuple[Member, Member], site: Site, world: World
) -> None:
    site.provision()
    one, other = members
    one.lead.look()
    services = evolve(site.services, standing=other.lead)
    machines = Machines(services)
    keeper = Keeper(machines)
    keeper.wait_for_lead()
    world.calls.clear()
    keeper.look()
    assert (world.calls, keeper.works) == ([], False)
    context = Context(services=services, machines=machines, operations=site.operations, keeper=keeper)
    with TestClient(make_api(context, TOKEN)) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        assert [node["hostname"] for node in client.get("/v1/nodes").json()] == ["cm-01"]
        assert "lead" in client.get("/v1/nodes/cm-01/status").json()["trouble"], "who is connected is not known here"
        refused = client.post("/v1/nodes", json=node_table("cm-02", "02:00:00:00:00:02"))
        assert (refused.status_code, refused.json()["title"]) == (503, "UnavailableError")
        assert client.delete("/v1/nodes/cm-01").status_code == client.post("/v1/mend", json={}).status_code == 503
        assert client.post("/v1/tokens", json={"name": "ann", "role": "read"}).status_code == 201
        one.session.cut()
        other.lead.look()
        assert client.delete("/v1/nodes/cm-01").status_code == 503, "it leads, and has not begun yet"
        keeper.look()
        assert (keeper.works, "start_storage" in world.calls) == (True, True)
        assert client.delete("/v1/nodes/cm-01").status_code == 202


def test_who_cannot_begin_gives_the_lead_back(members: tuple[Member, Member], site: Site, world: World) -> None:
    one, other = members
    services = evolve(site.services, standing=one.lead)
    keeper = Keeper(Machines(services))
    keeper.wait_for_lead()
    one.lead.look()
    world.fail |= {"start_storage"}
    keeper.look()
    assert (keeper.works, one.lead.held) == (False, False)
    one.lead.look()
    other.lead.look()
    assert other.lead.held


@pytest.fixture
def listed(members: tuple[Member, Member], site: Site) -> HostRows:
    """List both controllers, for longer than a test takes; an announcement would drop the other one of a file."""
    with site.store.engine.begin() as connection:
        for name in ("a", "b"):
            own = {"name": name, "identity": name * 8, "url": "", "portal": "", "store": "file", "version": "1"}
            connection.execute(insert(controllers).values(**own, state="waiting", started=0.0, seen=time.time() + 3600))
    return HostRows(site.store.engine)


def states(rows: HostRows) -> dict[str, tuple[str, bool]]:
    return {host.own.name: (host.state, host.leads) for host in rows.every()}


def test_who_is_drained_takes_no_lead_until_it_may_again(members: tuple[Member, Member], listed: HostRows) -> None:
    one, other = members
    assert listed.drain("a").drained
    one.lead.look()
    with pytest.raises(UnavailableError, match="nobody has the lead, and a does not take it, as it is drained") as caught:
        one.lead.require()
    assert "terra host resume a" in caught.value.hint
    other.lead.look()
    assert states(listed) == {"a": ("drained", False), "b": ("waiting", True)}
    with pytest.raises(ConflictError, match="b has the lead, and no other host is there that could take it"):
        listed.drain("b")
    other.session.cut()
    other.session.away = True
    one.lead.look()
    assert not one.lead.held
    assert listed.resume("a").state == "waiting"
    one.lead.look()
    assert one.lead.held


def test_a_drained_leader_is_to_leave_while_another_one_is_there(
    members: tuple[Member, Member], listed: HostRows, site: Site
) -> None:
    one, other = members
    one.lead.look()
    one.lead.look()
    assert (listed.drain("a").state, one.lead.leaving) == ("draining", False)
    one.lead.look()
    assert (one.lead.leaving, one.lead.held) == (True, True), "it says so to whoever finishes its work"
    with site.store.engine.begin() as connection:
        connection.execute(update(controllers).where(controllers.c.name == "b").values(seen=time.time() - 60))
    one.lead.look()
    assert (one.lead.leaving, one.lead.held) == (False, True), "nobody else is there, and it goes on"
    with site.store.engine.begin() as connection:
        connection.execute(update(controllers).where(controllers.c.name == "b").values(seen=time.time() + 60))
    one.lead.look()
    one.lead.give_back()
    for member in (one, other, one):
        member.lead.look()
    assert (one.lead.held, one.lead.leaving, other.lead.held) == (False, False, True)
    assert (one.deposed, row_of(site)) == ([], (2, "b"))


def test_a_drained_leader_finishes_its_work_stops_its_services_and_hands_over(
    members: tuple[Member, Member], listed: HostRows, site: Site, world: World, clock: Clock
) -> None:
    one, other = members
    one.lead.look()
    services = evolve(site.services, standing=one.lead)
    machines, left = Machines(services), list[str]()
    keeper = Keeper(machines, site.operations, partial(left.append, "left"))
    keeper.begin()
    keeper.look()
    record = site.begin()
    begun, ended = threading.Event(), threading.Event()

    def work(report: Any) -> Any:
        begun.set()
        ended.wait(30)
        return machines.provision(record, report)

    operation = site.operations.start("provision", "cm-01", work)
    assert begun.wait(30)
    listed.drain("a")
    one.lead.look()
    keeper.look()
    with pytest.raises(UnavailableError, match="this host is drained: it finishes what it has begun"):
        keeper.require_work()
    site.operations.start("pxe", "begun a moment ago", lambda report: {})
    keeper.look()
    with pytest.raises(UnavailableError, match="this host is drained"):
        site.operations.start("provision", "cm-02", work)
    assert (keeper.works, one.lead.held, world.storage_runs) == (True, True, True), "services are kept up meanwhile"
    ended.set()
    wait_until(lambda: operation.outcome is not None, seconds=30, what="the operation")
    assert operation.outcome is not None
    assert operation.outcome.kind == "result", operation.outcome
    turned, turning = threading.Event(), threading.Event()

    def turn() -> None:
        turning.set()
        turned.wait(30)

    watcher = threading.Thread(target=keeper.while_working, args=(turn,))
    watcher.start()
    assert turning.wait(30)
    keeper.look()
    assert (keeper.works, one.lead.held) == (True, True), "somebody is at work still"
    turned.set()
    watcher.join()
    world.fail.add("stop_storage")
    keeper.look()
    assert (keeper.works, one.lead.held) == (True, True), "the disks are here still"
    world.fail.clear()
    keeper.look()
    assert (keeper.works, one.lead.held, world.storage_runs, left) == (False, False, False, ["left"])
    world.calls.clear()
    keeper.while_working(partial(left.append, "worked"))
    for member in (one, other):
        member.lead.look()
    keeper.look()
    assert (other.lead.held, world.calls, left) == (True, [], ["left"])
    listed.resume("a")
    other.session.cut()
    other.session.away = True
    clock.now += 11
    one.lead.look()
    keeper.look()
    assert (keeper.works, world.storage_runs, [*world.exported]) == (True, True, ["iqn.2024.san.example.cm-01:fs"])
    site.operations.start("mend", "controller", lambda report: {})


def test_a_host_is_drained_by_the_api(members: tuple[Member, Member], listed: HostRows, site: Site) -> None:
    with TestClient(make_api(site.context, TOKEN)) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        assert client.post("/v1/hosts/c/drain", json={}).status_code == 404
        assert client.post("/v1/hosts/a/drain", json={"x": 1}).status_code == 422
        for _ in range(2):
            shown = client.post("/v1/hosts/a/drain", json={})
            assert (shown.status_code, shown.json()["state"], shown.json()["drained"]) == (200, "drained", True)
        assert client.post("/v1/hosts/a/resume", json={}).json()["drained"] is False
        assert client.post("/v1/hosts/c/resume", json={}).status_code == 404
        asked = [(one["action"], one["subject"]) for one in client.get("/v1/audit").json() if not one["refused"]]
        assert asked == [("drain host", "a"), ("drain host", "a"), ("resume host", "a")]


def local(members: tuple[Member, Member], site: Site, clock: Clock) -> tuple[Member, Member]:
    """Return both controllers as those of hosts with stores of their own, whose lead is for the boot service alone."""
    found = []
    for member in members:
        own = Own(name=member.lead._own.name, identity=member.session._identity, url="", portal="", store="", version="")
        made: Any = member.session
        found.append(Member(member.session, Lead(made, own, None), []))
    return found[0], found[1]


def test_who_has_lost_the_lead_waits_for_it_again_where_nothing_of_others_could_be_half_done(
    members: tuple[Member, Member], site: Site, clock: Clock
) -> None:
    one, other = local(members, site, clock)
    one.lead.look()
    assert (one.lead.held, one.lead.serves_until) == (True, clock.now + PATIENCE_SECONDS)
    one.session.cut()
    one.session.away = True
    clock.now += PATIENCE_SECONDS + 1
    one.lead.look()
    other.lead.look()
    assert (one.lead.serves_until < clock.now, row_of(site)) == (True, (2, "b"))
    one.session.away = False
    one.lead.look()
    assert (one.lead.held, one.lead.serves_until, one.lead.epoch) == (False, 0.0, 0)
    with pytest.raises(UnavailableError, match="a waits for the lead"):
        one.lead.require()
    other.session.cut()
    clock.now += 5
    one.lead.look()
    assert (one.lead.held, row_of(site)) == (True, (3, "a"))


def test_the_boot_service_goes_with_the_lead_and_is_given_away_by_who_is_drained(
    members: tuple[Member, Member], listed: HostRows, site: Site, world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = local(members, site, clock)
    monkeypatch.setattr(network_boot, "time", clock)
    here, there = (NetworkBoot(evolve(site.services, lead=member.lead)) for member in (one, other))
    for member in (one, other):
        member.lead.look()

    def started() -> tuple[bool, bool]:
        found = []
        for boot in (here, there):
            world.calls.clear()
            boot.start(site.services.session)
            found.append("start_boot" in world.calls)
        return found[0], found[1]

    assert started() == (True, False)
    listed.drain("a")
    one.lead.look()
    assert (one.lead.leaving, started()) == (True, (False, False))
    one.lead.look()
    other.lead.look()
    assert started() == (False, True)
    listed.resume("a")
    world.fail.add("start_boot")
    with pytest.raises(TerraError):
        there.start(site.services.session)
    world.fail.clear()
    other.lead.look()
    clock.now += 11
    one.lead.look()
    assert (one.lead.held, started()) == (True, (True, False)), "who cannot start it gives the lead back"


def test_the_boot_service_ends_with_a_controller_where_another_host_takes_it(
    members: tuple[Member, Member], listed: HostRows, site: Site, world: World, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = local(members, site, clock)
    monkeypatch.setattr(network_boot, "time", clock)
    one.lead.look()
    services = evolve(site.services, lead=one.lead, store=Store(site.store.engine, host="a"))
    stopped = list[str]()
    boot = NetworkBoot(services)
    monkeypatch.setattr(boot, "stop", lambda session: stopped.append("stopped"))
    boot.end(services.session)
    assert stopped == ["stopped"]
    listed.drain("b")
    boot.end(services.session)
    assert stopped == ["stopped"], "nobody would take it"
