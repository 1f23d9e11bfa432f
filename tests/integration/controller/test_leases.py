"""Many hosts on one queue in PostgreSQL: every piece of work is done once, whoever is paused or killed meanwhile."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from random import Random

import pytest
from sqlalchemy import Engine

from lab.postgresql import Postgresql
from terra_core.controller.database import open_database
from terra_core.controller.hosts import Doing, HostRows, Own
from terra_core.controller.leases import MOST_ATTEMPTS, Lease, LeaseLost, Stage, WorkRows
from terra_core.errors import UnavailableError
from terra_core.system.waiting import wait_until
from tests.integration.controller.test_leading import Member, members, take

PIECES, HOSTS = 200, 6
SECONDS = 0.5


class Crew:
    """Hosts that do what is queued; some are killed over it, and some are paused for longer than their lease."""

    def __init__(self) -> None:
        self.finished = Counter[int]()
        self.late = Counter[bool]()
        self.ended = threading.Event()
        self._lock = threading.Lock()

    def work(self, rows: WorkRows, own: Own, random: Random) -> None:
        """Be one of them, until all is done; no piece is abandoned so often that it is given up."""
        while not self.ended.is_set():
            lease = rows.take(own, ["machine"])
            fate = 1.0 if lease is not None and lease.attempt == MOST_ATTEMPTS else random.random()
            if lease is None:
                self.ended.wait(0.05)
            elif fate < 0.1:  # it is paused
                self.ended.wait(SECONDS * 2)
                self._finish(rows, lease, late=True)
            elif fate > 0.2:  # and killed between
                self._finish(rows, lease, late=False)

    def _finish(self, rows: WorkRows, lease: Lease, *, late: bool) -> None:
        done = _finished(rows, lease)
        with self._lock:
            self.finished[lease.number] += done
            if late and not self.ended.is_set():
                self.late[done] += 1


def waiting(engine: Engine, name: str) -> Own:
    """Let a host be there that waits for the lead."""
    own = Own(name=name, identity=f"process of {name}", url="", portal="", store="", version="1")
    HostRows(engine).announce(own, Doing.WAITING)
    return own


def all_done(rows: WorkRows, numbers: list[int]) -> bool:
    outcomes = [rows.outcome(number) for number in numbers]
    return all(one is not None and one.stage is Stage.DONE for one in outcomes)


def test_two_hundred_pieces_are_done_once_each_by_hosts_that_are_paused_and_killed(postgresql: Postgresql) -> None:
    url, crew = postgresql.make("leases"), Crew()
    with ExitStack() as stack:
        engines: list[Engine] = [open_database(url) for _ in range(HOSTS)]
        for engine in engines:
            stack.callback(engine.dispose)
        rows = WorkRows(engines[0], SECONDS)
        numbers = [rows.put("machine", f"cm-{number:03}", {"number": number}) for number in range(PIECES)]
        pool = stack.enter_context(ThreadPoolExecutor(HOSTS))
        stack.callback(crew.ended.set)
        hosts = [
            pool.submit(crew.work, WorkRows(engine, SECONDS), waiting(engine, f"host-{at}"), Random(at))  # noqa: S311  # no secret
            for at, engine in enumerate(engines)
        ]
        wait_until(lambda: all_done(rows, numbers), seconds=60, what="all of it to be done")
        crew.ended.set()
        for host in hosts:
            host.result()
    assert +crew.finished == Counter(numbers), "each once"
    assert crew.late[True] == 0
    print(f"\n{PIECES} pieces of work, {HOSTS} hosts: {crew.late[False]} that woke up too late were refused")  # noqa: T201


def _finished(rows: WorkRows, lease: Lease) -> bool:
    try:
        rows.finish(rows.extend(lease), {"attempt": lease.attempt})
    except LeaseLost:
        return False
    return True


def test_the_leader_alone_puts_and_drops_and_every_host_takes(postgresql: Postgresql) -> None:
    with members(postgresql.make("queue"), "a", "b") as (one, other):
        take(one)
        other.lead.look()
        queues: dict[Member, WorkRows] = {member: WorkRows(member.engine) for member in (one, other)}
        number = queues[one].put("machine", "cm-01", {})
        with pytest.raises(UnavailableError):
            queues[other].put("machine", "cm-02", {})
        lease = queues[other].take(waiting(other.engine, "b"), ["machine"])
        assert lease is not None
        queues[other].finish(queues[other].extend(lease), {"made": "yes"})
        with pytest.raises(UnavailableError):
            queues[other].drop([number])
        outcome = queues[one].outcome(number)
        assert outcome is not None
        assert (outcome.stage, outcome.said) == (Stage.DONE, {"made": "yes"})
