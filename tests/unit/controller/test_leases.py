"""The queue of work that any host may do: taken once, extended, lost, taken over, finished by who has it, adopted, cleared."""

from __future__ import annotations

import pytest
from attrs import evolve
from sqlalchemy import delete, insert, update

from terra_core.controller.database import controllers, drained, leases, work
from terra_core.controller.hosts import FENCED, Doing, Own
from terra_core.controller.leases import LEASE_SECONDS, MOST_ATTEMPTS, Lease, LeaseLost, Stage, WorkRows
from terra_core.errors import ConflictError
from tests.unit.controller.fakes import Site

A, B, C = (
    Own(name=name, identity=f"process of {name}", url="", portal="", store="fake", version="1") for name in ("a", "b", "c")
)


@pytest.fixture
def rows(site: Site) -> WorkRows:
    for own in (A, B, C):
        join(site, own)
    return WorkRows(site.store.engine)


def join(site: Site, own: Own, state: str = Doing.WAITING.value) -> None:
    """Let a host be there."""
    values = {"name": own.name, "identity": own.identity, "url": "", "portal": "", "store": "", "version": "1"}
    with site.store.engine.begin() as connection:
        connection.execute(delete(controllers).where(controllers.c.name == own.name))
        connection.execute(insert(controllers).values(state=state, started=0, seen=0, **values))


def silence(site: Site, seconds: float) -> None:
    """Let nothing be heard of any host for longer."""
    with site.store.engine.begin() as connection:
        connection.execute(update(leases).values(until=leases.c.until - seconds))


def taken(rows: WorkRows, own: Own, *kinds: str) -> Lease:
    lease = rows.take(own, kinds or ("machine",))
    assert lease is not None
    return lease


def stage(rows: WorkRows, number: int) -> tuple[Stage, int, str]:
    outcome = rows.outcome(number)
    assert outcome is not None
    return outcome.stage, outcome.attempt, outcome.name


def test_work_is_taken_in_order_by_who_can_do_it_and_once(rows: WorkRows) -> None:
    first = rows.put("machine", "cm-01", {"generation": 1})
    rows.put("golden", "a layout", {})
    with pytest.raises(ConflictError, match="machine of cm-01 is queued already"):
        rows.put("machine", "cm-01", {})
    golden = taken(rows, B, "golden")
    assert (golden.kind, golden.attempt, golden.holds) == ("golden", 1, True)
    machine = taken(rows, A, "golden", "machine")
    assert (machine.number, machine.subject, machine.data) == (first, "cm-01", {"generation": 1})
    assert rows.take(C, ["golden", "machine"]) is None
    assert stage(rows, first) == (Stage.TAKEN, 1, "a")


def test_who_says_that_it_goes_on_keeps_its_lease_and_who_is_silent_loses_it_for_good(rows: WorkRows, site: Site) -> None:
    number = rows.put("machine", "cm-01", {})
    lease = taken(rows, A)
    silence(site, LEASE_SECONDS - 1)
    lease = rows.extend(lease)
    silence(site, LEASE_SECONDS - 1)
    assert rows.take(B, ["machine"]) is None
    silence(site, 2)
    with pytest.raises(LeaseLost, match=r"machine of cm-01 is lost \(attempt 1\)"):
        rows.extend(lease)  # also while nobody has taken it over
    assert stage(rows, number) == (Stage.QUEUED, 1, "a")
    following = taken(rows, B)
    assert (following.attempt, following.name) == (2, f"{number}.2")
    for late in (lambda: rows.extend(lease), lambda: rows.finish(lease, {"by": "a"})):
        with pytest.raises(LeaseLost):
            late()
    rows.finish(following, {"by": "b"})
    outcome = rows.outcome(number)
    assert outcome is not None
    assert (outcome.stage, outcome.attempt, outcome.said) == (Stage.DONE, 2, {"by": "b"})
    rows.finish(following, {"by": "b"})  # the answer of the database may have been lost
    with pytest.raises(LeaseLost):
        rows.finish(following, {"by": "b"}, failed=True)


def test_a_host_that_is_drained_or_fenced_or_leads_takes_nothing(rows: WorkRows, site: Site) -> None:
    number = rows.put("machine", "cm-01", {})
    with site.store.engine.begin() as connection:
        connection.execute(insert(drained).values(name="a", since=0))
    join(site, B, FENCED)
    join(site, C, Doing.WORKING.value)
    for own in (A, B, C, evolve(A, name="b")):
        assert rows.take(own, ["machine"]) is None
    own_lease = rows.take_own(C, number)
    assert own_lease is not None, "who leads takes what it has put itself"
    assert rows.take_own(C, number) is None


def test_a_host_of_another_version_takes_nothing(rows: WorkRows, site: Site) -> None:
    rows.put("machine", "cm-01", {})
    with site.store.engine.begin() as connection:
        connection.execute(update(work).values(version="0.0"))
    assert rows.take(A, ["machine"]) is None


def test_work_that_ends_every_host_is_given_up(rows: WorkRows, site: Site) -> None:
    number = rows.put("machine", "cm-01", {})
    for attempt in range(1, MOST_ATTEMPTS + 1):
        assert taken(rows, A).attempt == attempt
        silence(site, LEASE_SECONDS + 1)
    assert rows.take(B, ["machine"]) is None
    assert stage(rows, number)[0] is Stage.LOST


def test_who_lets_go_is_followed_at_once(rows: WorkRows) -> None:
    number = rows.put("machine", "cm-01", {})
    rows.let_go(taken(rows, A))
    assert stage(rows, number)[0] is Stage.QUEUED
    assert taken(rows, B).attempt == 2


def test_what_failed_or_is_done_is_taken_by_nobody_and_what_is_dropped_is_lost(rows: WorkRows, site: Site) -> None:
    failed, dropped = rows.put("machine", "cm-01", {}), rows.put("machine", "cm-02", {})
    one, other = taken(rows, A), taken(rows, A)
    rows.finish(one, {"detail": "no room"}, failed=True)
    silence(site, 60)
    rows.drop([dropped])
    assert rows.outcome(dropped) is None
    assert rows.take(B, ["machine"]) is None
    with pytest.raises(LeaseLost):
        rows.finish(other, {})
    outcome = rows.outcome(failed)
    assert outcome is not None
    assert (outcome.stage, outcome.said) == (Stage.FAILED, {"detail": "no room"})
    rows.drop([failed])
    assert rows.put("machine", "cm-03", {}) > dropped, "a number is given once"


def test_what_is_adopted_is_no_remains_and_is_adopted_once(rows: WorkRows, site: Site) -> None:
    number = rows.put("machine", "cm-01", {})
    lease = rows.extend(taken(rows, A), made={"owner": "cm-01"}, events=[{"number": 1}])
    rows.finish(lease, {"by": "a"})
    outcome = rows.outcome(number)
    assert outcome is not None
    with site.store.engine.begin() as connection:
        rows.adopt(connection, outcome)
    assert (rows.made(), rows.remains(), rows.outcome(number), rows.wanted()) == ([], [], None, [])
    with pytest.raises(LeaseLost), site.store.engine.begin() as connection:
        rows.adopt(connection, outcome)
    rows.put("machine", "cm-01", {})


def test_what_is_dropped_is_not_adopted(rows: WorkRows, site: Site) -> None:
    number = rows.put("machine", "cm-01", {})
    rows.finish(taken(rows, A), {})
    outcome = rows.outcome(number)
    assert outcome is not None
    rows.drop([number])
    with pytest.raises(LeaseLost), site.store.engine.begin() as connection:
        rows.adopt(connection, outcome)
    assert [one.number for one in rows.remains()] == [number], "it is there to be removed"


def test_remains_are_known_until_they_are_cleared_and_whose_process_may_go_on_with_them(rows: WorkRows, site: Site) -> None:
    number = rows.put("machine", "cm-01", {})
    first = rows.extend(taken(rows, A), made={"owner": "cm-01", "at": 1})
    silence(site, LEASE_SECONDS + 5)
    rows.extend(taken(rows, B), made={"owner": "cm-01", "at": 2})
    assert rows.remains() == [], "the work goes on"
    assert [made["at"] for made in rows.made()] == [1, 2]
    rows.drop([number])
    found = {one.name: (one.may_go_on, one.silence > 0) for one in rows.remains()}
    assert found == {"a": (True, True), "b": (True, False)}
    rows.let_go(first)
    join(site, evolve(B, identity="its next process"))
    assert [one.may_go_on for one in rows.remains()] == [False, False]
    for one in rows.remains():
        rows.clear(one)
    assert (rows.remains(), rows.made()) == ([], [])
    with site.store.engine.begin() as connection:
        assert connection.execute(work.select()).all() == []
