"""The queue of work that any host may do: taken once, extended, lost, taken over, and finished by who has it."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from terra_core.controller.database import leases
from terra_core.controller.leases import LEASE_SECONDS, LeaseLost, Standing, WorkRows
from terra_core.errors import ConflictError
from tests.unit.controller.fakes import Site


@pytest.fixture
def rows(site: Site) -> WorkRows:
    return WorkRows(site.store.engine)


def silence(site: Site, seconds: float) -> None:
    """Let nothing be heard of any host for longer."""
    with site.store.engine.begin() as connection:
        connection.execute(update(leases).values(until=leases.c.until - seconds))


def test_work_is_taken_in_order_by_who_can_do_it_and_once(rows: WorkRows) -> None:
    first = rows.put("machine", "cm-01", {"generation": 1})
    rows.put("golden", "a layout", {})
    with pytest.raises(ConflictError, match="machine of cm-01 is queued already"):
        rows.put("machine", "cm-01", {})
    golden = rows.take("b", ["golden"])
    assert golden is not None
    assert (golden.kind, golden.attempt, golden.holds) == ("golden", 1, True)
    machine = rows.take("a", ["golden", "machine"])
    assert machine is not None
    assert (machine.number, machine.subject, machine.data) == (first, "cm-01", {"generation": 1})
    assert rows.take("c", ["golden", "machine"]) is None
    outcome = rows.outcome(first)
    assert outcome is not None
    assert (outcome.standing, outcome.identity) == (Standing.TAKEN, "a")


def test_who_says_that_it_goes_on_keeps_its_lease_and_who_is_silent_loses_it_for_good(rows: WorkRows, site: Site) -> None:
    number = rows.put("machine", "cm-01", {})
    lease = rows.take("a", ["machine"])
    assert lease is not None
    silence(site, LEASE_SECONDS - 1)
    lease = rows.extend(lease)
    silence(site, LEASE_SECONDS - 1)
    assert rows.take("b", ["machine"]) is None
    silence(site, 2)
    with pytest.raises(LeaseLost, match=r"machine of cm-01 is lost \(attempt 1\)"):
        rows.extend(lease)  # also while nobody has taken it over
    following = rows.take("b", ["machine"])
    assert following is not None
    assert (following.attempt, following.name) == (2, f"{number}.2")
    for late in (lambda: rows.extend(lease), lambda: rows.finish(lease, {"by": "a"})):
        with pytest.raises(LeaseLost):
            late()
    rows.finish(following, {"by": "b"})
    outcome = rows.outcome(number)
    assert outcome is not None
    assert (outcome.standing, outcome.attempt, outcome.said) == (Standing.DONE, 2, {"by": "b"})
    with pytest.raises(LeaseLost):
        rows.finish(following, {"by": "b", "twice": True})


def test_what_failed_or_is_done_is_taken_by_nobody_and_what_is_dropped_is_lost(rows: WorkRows, site: Site) -> None:
    failed, dropped = rows.put("machine", "cm-01", {}), rows.put("machine", "cm-02", {})
    one, other = rows.take("a", ["machine"]), rows.take("a", ["machine"])
    assert one is not None
    assert other is not None
    rows.finish(one, {"detail": "no room"}, failed=True)
    silence(site, 60)
    rows.drop(dropped)
    assert rows.outcome(dropped) is None
    assert rows.take("b", ["machine"]) is None
    with pytest.raises(LeaseLost):
        rows.finish(other, {})
    outcome = rows.outcome(failed)
    assert outcome is not None
    assert (outcome.standing, outcome.said) == (Standing.FAILED, {"detail": "no room"})
    rows.drop(failed)
    assert rows.put("machine", "cm-01", {}) > dropped, "a number is given once"
