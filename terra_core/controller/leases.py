"""Work that any host of a database may do: put there by the leader, taken by one host at a time, and lost by who falls silent.

A piece of work has a number, and each time that it is taken an attempt. Both together are the name of a lease: who has lost one
writes nothing by it any more, and what an attempt makes in the store bears its name, so that two attempts never share a volume.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from typing import Any

from attrs import evolve, frozen
from sqlalchemy import ColumnElement, Connection, Engine, and_, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from terra_core.controller.database import leases, work
from terra_core.controller.hosts import present
from terra_core.errors import ConflictError, UnavailableError
from terra_core.service.database import explained

LEASE_SECONDS = 20.0
"""Who says nothing for so long has lost its lease."""


class Standing(Enum):
    """Where a piece of work stands."""

    QUEUED = "queued"
    TAKEN = "taken"
    DONE = "done"
    FAILED = "failed"


class LeaseLost(UnavailableError):  # noqa: N818  # a state, as InterruptedWork is one
    """Somebody else may do the work by now, or nobody wants it any more; what was made for it has to go."""


@frozen(kw_only=True)
class Lease:
    """A piece of work that this host has taken.

    :param number: of the work.
    :param attempt: the how manieth time it was taken.
    :param identity: of the process that has taken it.
    :param kind: what is to be done.
    :param subject: to what.
    :param data: what it takes for that.
    :param until: until when the lease holds in any case, in seconds of the monotonic clock.
    """

    number: int
    attempt: int
    identity: str
    kind: str
    subject: str
    data: Mapping[str, Any]
    until: float

    @property
    def name(self) -> str:
        """What everything is named by that this attempt makes: no other attempt has it."""
        return f"{self.number}.{self.attempt}"

    @property
    def holds(self) -> bool:
        """Whether nobody else can have taken the work, as far as is known without asking."""
        return time.monotonic() < self.until


@frozen(kw_only=True)
class Outcome:
    """What has come of a piece of work.

    :param standing: where it stands.
    :param attempt: the last attempt; 0 for none.
    :param identity: whose that is.
    :param said: what that host says of its end.
    """

    standing: Standing
    attempt: int = 0
    identity: str = ""
    said: Mapping[str, Any] = {}


@frozen
class WorkRows:
    """The queue, in the database. :meth:`put` and :meth:`drop` are for the leader, whose writes are fenced by its epoch.

    :param engine: from :func:`terra_core.controller.database.open_database`.
    :param seconds: how long a lease holds without a word.
    """

    _engine: Engine
    _seconds: float = LEASE_SECONDS

    def put(self, kind: str, subject: str, data: Mapping[str, Any]) -> int:
        """Queue a piece of work; return its number.

        :raises ConflictError: when the same is queued, or done, already.
        """
        with self._transaction() as connection:
            try:
                values = {"kind": kind, "subject": subject, "data": dict(data)}
                (number,) = connection.execute(insert(work).values(**values)).inserted_primary_key or (0,)
            except IntegrityError:
                raise ConflictError(f"{kind} of {subject} is queued already", hint="wait for the end of it") from None
            return int(number)

    def drop(self, number: int) -> None:
        """Take a piece of work away, whatever has come of it; who does it finds out when it is to say so."""
        with self._transaction() as connection:
            connection.execute(delete(work).where(work.c.number == number))
            connection.execute(delete(leases).where(leases.c.number == number))

    def outcome(self, number: int) -> Outcome | None:
        """Return what has come of a piece of work; ``None`` where it was dropped."""
        with self._transaction() as connection:
            query = select(leases).select_from(work.outerjoin(leases, leases.c.number == work.c.number))
            row = connection.execute(query.where(work.c.number == number)).one_or_none()
            if row is None:
                return None
            if row.number is None or (row.state == Standing.TAKEN.value and row.until < present(connection)):
                return Outcome(standing=Standing.QUEUED, attempt=row.attempt or 0, identity=row.identity or "")
            return Outcome(standing=Standing(row.state), attempt=row.attempt, identity=row.identity, said=row.outcome)

    def take(self, identity: str, kinds: Collection[str]) -> Lease | None:
        """Take the piece of work that waits longest; ``None`` where there is none. Others that take meanwhile pass over it.

        :param identity: of this process.
        :param kinds: what this host can do.
        """
        began = time.monotonic()
        with self._transaction() as connection:
            now = present(connection)
            free = or_(leases.c.number.is_(None), and_(leases.c.state == Standing.TAKEN.value, leases.c.until < now))
            query = (
                select(work, leases.c.attempt)
                .select_from(work.outerjoin(leases, leases.c.number == work.c.number))
                .where(work.c.kind.in_(kinds), free)
                .order_by(work.c.number)
                .limit(1)
                .with_for_update(of=work, skip_locked=True)
            )
            row = connection.execute(query).one_or_none()
            if row is None or not self._note(connection, row.number, row.attempt, identity, now):
                return None
            return Lease(
                number=row.number,
                attempt=(row.attempt or 0) + 1,
                identity=identity,
                kind=row.kind,
                subject=row.subject,
                data=row.data,
                until=began + self._seconds,
            )

    def extend(self, lease: Lease) -> Lease:
        """Say that the work goes on; return the lease as it is from now on.

        :raises LeaseLost: when it has run out, or the work was dropped.
        """
        began = time.monotonic()
        with self._transaction() as connection:
            now = present(connection)
            self._change(connection, lease, now, until=now + self._seconds)
        return evolve(lease, until=began + self._seconds)

    def finish(self, lease: Lease, said: Mapping[str, Any], *, failed: bool = False) -> None:
        """Say what has come of the work, which ends the lease.

        :raises LeaseLost: when it has run out, or the work was dropped: nobody will look at what was made.
        """
        state = Standing.FAILED if failed else Standing.DONE
        with self._transaction() as connection:
            self._change(connection, lease, present(connection), state=state.value, outcome=dict(said))

    def _note(self, connection: Connection, number: int, attempt: int | None, identity: str, now: float) -> bool:
        """Write down who has a piece of work; return whether nobody else was faster.

        A transaction that waited for no lock may have read the lease before another one had changed it.
        """
        values = {"identity": identity, "until": now + self._seconds, "state": Standing.TAKEN.value, "outcome": {}}
        if attempt is None:
            try:
                with connection.begin_nested():
                    connection.execute(insert(leases).values(number=number, attempt=1, **values))
            except IntegrityError:
                return False
            return True
        same = (leases.c.number == number) & (leases.c.attempt == attempt) & (leases.c.until < now)
        change = update(leases).where(same, leases.c.state == Standing.TAKEN.value)
        return connection.execute(change.values(attempt=attempt + 1, **values)).rowcount == 1

    def _change(self, connection: Connection, lease: Lease, now: float, **values: object) -> None:
        if connection.execute(update(leases).where(_is(lease), leases.c.until >= now).values(**values)).rowcount != 1:
            raise LeaseLost(f"the lease of {lease.kind} of {lease.subject} is lost (attempt {lease.attempt})")

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with explained(self._engine), self._engine.begin() as connection:
            yield connection


def _is(lease: Lease) -> ColumnElement[bool]:
    same = (leases.c.number == lease.number) & (leases.c.attempt == lease.attempt)
    return same & (leases.c.identity == lease.identity) & (leases.c.state == Standing.TAKEN.value)
