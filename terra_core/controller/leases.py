"""Work that any host of a database may do: put there by the leader, taken by one host at a time, and lost by who falls silent.

A piece of work has a number, and each time that it is taken an attempt. Both together are a lease: who has lost one writes
nothing by it any more, and what an attempt makes in the store has a name that no other one ever gives (decision 0104). What
that is stands in the row of the lease before it is made, and the row stays until it is adopted or removed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from importlib.metadata import version
from typing import Any

from attrs import evolve, frozen
from sqlalchemy import ColumnElement, Connection, Engine, and_, delete, exists, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from terra_core.controller.database import controllers, leases, work
from terra_core.controller.hosts import Doing, Own, is_drained, present
from terra_core.errors import ConflictError, UnavailableError
from terra_core.service.database import explained

LEASE_SECONDS = 20.0
"""Who says nothing for so long has lost its lease."""
MOST_ATTEMPTS = 3
"""So often a piece of work is taken: what ends three hosts would end the fourth as well."""
_VERSION = version("terra-core")


class Stage(Enum):
    """Where a piece of work, or an attempt at it, stands."""

    QUEUED = "queued"
    """Nobody does it, and somebody may take it."""
    TAKEN = "taken"
    DONE = "done"
    FAILED = "failed"
    """Who had it says why, and has removed what it made."""
    LOST = "lost"
    """Of an attempt: its host has lost it, and may not know that yet. Of a piece of work: every attempt is."""
    GONE = "gone"
    """Of an attempt: its host knows that it has lost it, and does nothing for it any more."""


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
        """What no other lease has."""
        return f"{self.number}.{self.attempt}"

    @property
    def holds(self) -> bool:
        """Whether nobody else can have taken the work, as far as is known without asking."""
        return self.left > 0

    @property
    def left(self) -> float:
        """How long it holds in any case, in seconds; less than 0 once it may be lost."""
        return self.until - time.monotonic()


@frozen(kw_only=True)
class Outcome:
    """What has come of a piece of work.

    :param number: of the work.
    :param stage: where it stands.
    :param attempt: the last attempt; 0 for none.
    :param name: the host that has, or had it.
    :param events: what that host tells of it.
    :param said: what it says of its end.
    """

    number: int
    stage: Stage
    attempt: int = 0
    name: str = ""
    events: Sequence[Mapping[str, Any]] = ()
    said: Mapping[str, Any] = {}


@frozen(kw_only=True)
class Remains:
    """An attempt at work that is over, and what it may have left.

    :param number: of the work.
    :param attempt: which attempt.
    :param name: the host that had it.
    :param made: what it says that it makes.
    :param may_go_on: whether its process may make something of that still.
    :param silence: how long its lease is over, in seconds; 0 where its process does nothing for it any more.
    """

    number: int
    attempt: int
    name: str
    made: Mapping[str, Any]
    may_go_on: bool
    silence: float


@frozen
class WorkRows:
    """The queue, in the database. What puts, adopts and clears is for the leader, whose writes are fenced by its epoch.

    :param engine: from :func:`terra_core.controller.database.open_database`.
    :param seconds: how long a lease holds without a word.
    """

    _engine: Engine
    _seconds: float = LEASE_SECONDS

    def put(self, kind: str, subject: str, data: Mapping[str, Any]) -> int:
        """Queue a piece of work, for hosts of this version of Terra; return its number.

        :raises ConflictError: when the same is queued, or done, already.
        """
        with self._transaction() as connection:
            try:
                values = {"kind": kind, "subject": subject, "version": _VERSION, "data": dict(data), "wanted": 1}
                (number,) = connection.execute(insert(work).values(**values)).inserted_primary_key or (0,)
            except IntegrityError:
                raise ConflictError(f"{kind} of {subject} is queued already", hint="wait for the end of it") from None
            return int(number)

    def wanted(self) -> Sequence[int]:
        """Return the numbers of the work whose end somebody waited for."""
        with self._transaction() as connection:
            return list(connection.scalars(select(work.c.number).where(work.c.wanted == 1)))

    def drop(self, numbers: Sequence[int]) -> None:
        """Want pieces of work no more, whatever has come of them; who does them finds out when it is to say so."""
        with self._transaction() as connection:
            connection.execute(update(work).where(work.c.number.in_(numbers)).values(wanted=0, data={}))
            taken = leases.c.number.in_(numbers) & (leases.c.state == Stage.TAKEN.value)
            connection.execute(update(leases).where(taken).values(state=Stage.LOST.value))

    def adopt(self, connection: Connection, outcome: Outcome) -> None:
        """Take what an attempt has made, in the transaction that writes it down elsewhere: it is no remains any more.

        :raises LeaseLost: when the attempt is not what it was: its remains are somebody else's to remove.
        """
        mine = (leases.c.number == outcome.number) & (leases.c.attempt == outcome.attempt)
        if connection.execute(delete(leases).where(mine, leases.c.state == Stage.DONE.value)).rowcount != 1:
            raise LeaseLost(f"the work {outcome.number}.{outcome.attempt} was taken away")
        wanted = (work.c.number == outcome.number) & (work.c.wanted == 1)
        if connection.execute(update(work).where(wanted).values(wanted=0, data={})).rowcount != 1:
            raise LeaseLost(f"nobody wants the work {outcome.number} any more")
        self._clear_work(connection)

    def outcome(self, number: int) -> Outcome | None:
        """Return what has come of a piece of work; ``None`` where nobody wants it any more."""
        with self._transaction() as connection:
            query = select(leases).select_from(work.outerjoin(leases, leases.c.number == work.c.number))
            query = query.where(work.c.number == number, work.c.wanted == 1).order_by(leases.c.attempt.desc()).limit(1)
            row = connection.execute(query).one_or_none()
            if row is None:
                return None
            if row.number is None:
                return Outcome(number=number, stage=Stage.QUEUED)
            stage = Stage(row.state)
            if stage in (Stage.LOST, Stage.GONE) or (stage is Stage.TAKEN and row.until < present(connection)):
                stage = Stage.QUEUED if row.attempt < MOST_ATTEMPTS else Stage.LOST
            return Outcome(
                number=number, stage=stage, attempt=row.attempt, name=row.name, events=row.events, said=row.outcome
            )

    def take(self, own: Own, kinds: Sequence[str]) -> Lease | None:
        """Take the piece of work that waits longest; ``None`` where there is none. Others that take meanwhile pass over it.

        A host that does not wait for the lead, or is drained, takes nothing.

        :param own: this host.
        :param kinds: what it can do.
        """
        with self._transaction() as connection:
            mine = (controllers.c.name == own.name) & (controllers.c.identity == own.identity)
            state = connection.scalar(select(controllers.c.state).where(mine))
            if state != Doing.WAITING.value or is_drained(connection, own.name):
                return None
            return self._take(connection, own, work.c.kind.in_(kinds))

    def take_own(self, own: Own, number: int) -> Lease | None:
        """Take a piece of work that this host has put itself, as it leads; ``None`` where somebody else has it."""
        with self._transaction() as connection:
            return self._take(connection, own, work.c.number == number)

    def _take(self, connection: Connection, own: Own, which: ColumnElement[bool]) -> Lease | None:
        began, now = time.monotonic(), present(connection)
        of_work = leases.c.number == work.c.number
        last = select(func.coalesce(func.max(leases.c.attempt), 0)).where(of_work).correlate(work).scalar_subquery()
        ended = leases.c.state.in_([Stage.DONE.value, Stage.FAILED.value])
        kept = or_(ended, and_(leases.c.state == Stage.TAKEN.value, leases.c.until >= now))
        query = (
            select(work, last.label("last"))
            .where(which, work.c.wanted == 1, work.c.version == _VERSION, last < MOST_ATTEMPTS, ~exists().where(of_work, kept))
            .order_by(work.c.number)
            .limit(1)
            .with_for_update(of=work, skip_locked=True)
        )
        row = connection.execute(query).one_or_none()
        if row is None or not self._note(connection, row.number, row.last, own, now):
            return None
        return Lease(
            number=row.number,
            attempt=row.last + 1,
            identity=own.identity,
            kind=row.kind,
            subject=row.subject,
            data=row.data,
            until=began + self._seconds,
        )

    def _note(self, connection: Connection, number: int, last: int, own: Own, now: float) -> bool:
        """Write down who has a piece of work; return whether nobody else was faster.

        A transaction that waited for no lock may have read the leases before another one had changed them.
        """
        former = (leases.c.number == number) & (leases.c.attempt == last) & (leases.c.state == Stage.TAKEN.value)
        if connection.scalar(select(leases.c.attempt).where(former)) is not None:
            over = update(leases).where(former, leases.c.until < now).values(state=Stage.LOST.value)
            if connection.execute(over).rowcount != 1:
                return False
        values = {"identity": own.identity, "name": own.name, "until": now + self._seconds, "state": Stage.TAKEN.value}
        try:
            with connection.begin_nested():
                row = {"number": number, "attempt": last + 1, "made": {}, "events": [], "outcome": {}, **values}
                connection.execute(insert(leases).values(**row))
        except IntegrityError:
            return False
        return True

    def extend(
        self, lease: Lease, *, events: Sequence[Mapping[str, Any]] | None = None, made: Mapping[str, Any] | None = None
    ) -> Lease:
        """Say that the work goes on; return the lease as it is from now on.

        :param events: all that is to be told of it; as before when left out.
        :param made: what is about to be made in the store; as before when left out.
        :raises LeaseLost: when it has run out, or the work was dropped.
        """
        began = time.monotonic()
        told = {name: value for name, value in (("events", events), ("made", made)) if value is not None}
        with self._transaction() as connection:
            now = present(connection)
            if not self._change(connection, lease, now, until=now + self._seconds, **told):
                raise _lost(lease)
        return evolve(lease, until=began + self._seconds)

    def finish(
        self, lease: Lease, said: Mapping[str, Any], *, events: Sequence[Mapping[str, Any]] = (), failed: bool = False
    ) -> None:
        """Say what has come of the work, which ends the lease. It can be repeated where the answer of the database was lost.

        :raises LeaseLost: when it has run out, or the work was dropped: nobody will look at what was made.
        """
        state = Stage.FAILED if failed else Stage.DONE
        with self._transaction() as connection:
            now = present(connection)
            if self._change(connection, lease, now, state=state.value, outcome=dict(said), events=list(events)):
                return
            if connection.scalar(select(leases.c.state).where(_of(lease))) != state.value:
                raise _lost(lease)

    def let_go(self, lease: Lease) -> None:
        """Say that nothing is done for a lease any more, also for one that is lost: whoever may takes the work next."""
        over = leases.c.state.in_([Stage.TAKEN.value, Stage.LOST.value])
        with self._transaction() as connection:
            connection.execute(update(leases).where(_of(lease), over).values(state=Stage.GONE.value))

    def made(self) -> Sequence[Mapping[str, Any]]:
        """Return what all attempts say that they make, which may be in the store."""
        with self._transaction() as connection:
            return [found for found in connection.scalars(select(leases.c.made)) if isinstance(found, Mapping) and found]

    def remains(self) -> Sequence[Remains]:
        """Return the attempts at work that nobody wants any more."""
        with self._transaction() as connection:
            self._clear_work(connection)
            now = present(connection)
            lives = set(connection.scalars(select(controllers.c.identity).where(controllers.c.state != Doing.STOPPED.value)))
            over = leases.c.number.not_in(select(work.c.number).where(work.c.wanted == 1))
            return [_remains(row, now, lives) for row in connection.execute(select(leases).where(over))]

    def clear(self, one: Remains) -> None:
        """Forget an attempt whose remains are gone."""
        with self._transaction() as connection:
            connection.execute(delete(leases).where(leases.c.number == one.number, leases.c.attempt == one.attempt))
            self._clear_work(connection)

    def _clear_work(self, connection: Connection) -> None:
        over = (work.c.wanted == 0) & work.c.number.not_in(select(leases.c.number))
        connection.execute(delete(work).where(over))

    def _change(self, connection: Connection, lease: Lease, now: float, **values: object) -> bool:
        held = (leases.c.state == Stage.TAKEN.value) & (leases.c.until >= now)
        return connection.execute(update(leases).where(_of(lease), held).values(**values)).rowcount == 1

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with explained(self._engine), self._engine.begin() as connection:
            yield connection


def _of(lease: Lease) -> ColumnElement[bool]:
    same = (leases.c.number == lease.number) & (leases.c.attempt == lease.attempt)
    return same & (leases.c.identity == lease.identity)


def _lost(lease: Lease) -> LeaseLost:
    return LeaseLost(f"the lease of {lease.kind} of {lease.subject} is lost (attempt {lease.attempt})")


def _remains(row: Any, now: float, lives: set[str]) -> Remains:  # a row of SQLAlchemy's
    lost = row.state == Stage.LOST.value
    return Remains(
        number=row.number,
        attempt=row.attempt,
        name=row.name,
        made=row.made if isinstance(row.made, Mapping) else {},
        may_go_on=lost and row.identity in lives,
        silence=max(now - row.until, 0.0) if lost else 0.0,
    )
