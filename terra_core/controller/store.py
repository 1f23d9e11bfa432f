"""What the controller knows of its machines: the intent, from which everything else is made again."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, ExceptionContext, case, delete, event, insert, select, update
from sqlalchemy.exc import DBAPIError, OperationalError

from terra_core.config.node import NetworkNode
from terra_core.config.values import Hostname, Mac
from terra_core.controller.ballast import Ballast
from terra_core.controller.database import FLOOR, about, hosts, nodes, target_numbers
from terra_core.controller.golden_rows import GoldenRows
from terra_core.controller.happening import utc
from terra_core.controller.happening_rows import batched
from terra_core.controller.happenings import Happenings
from terra_core.controller.known import Known
from terra_core.controller.records import KeptTarget, Record, SetAside, State
from terra_core.controller.rows import read_values, row_of
from terra_core.errors import ConflictError, NotFoundError, TerraError, UnavailableError
from terra_core.hookspecs import NodeBoot
from terra_core.service.database import explained
from terra_core.service.database_server import exclude_others, is_away
from terra_core.service.room import DatabaseFull

__all__ = ["Record", "SetAside", "State", "Store"]


T = TypeVar("T")
_VERSIONED = ("mac", "document", "tables", "targets", "digest", "kernel_arguments", "layout", "upgrade")
"""The columns by which a machine is known to be what it was."""
_NONE = Ballast(None)
_NAMES = int.from_bytes(b"names")
"""The advisory lock of PostgreSQL under which names and addresses are taken: else two could find the same one free."""


class Store:
    """The records, in a database. A host with a store of its own works on the machines alone that it has the disks of.

    :param engine: from :func:`terra_core.controller.database.open_database`.
    :param ballast: room that is given up so that machines can be deleted when the disk is full.
    :param known_volumes: the directory of the volumes, where it was marked as that of this database before it was opened.
    :param host: this host, where its store is its own; empty where all machines are its.
    """

    def __init__(
        self, engine: Engine, ballast: Ballast = _NONE, known_volumes: Path | None = None, *, host: str = ""
    ) -> None:  # fmt: skip
        self._engine = engine
        self.host = host
        self._own: tuple[Sequence[Record | SetAside], Sequence[Record | SetAside]] = ((), ())
        self._ballast = ballast
        self._cut = threading.Event()
        event.listen(engine, "handle_error", self._note_error)
        self.known_volumes = known_volumes
        self.happenings = Happenings(engine)
        self._known = Known(engine)

    @property
    def engine(self) -> Engine:
        """The database, for what else is kept in it."""
        return self._engine

    @property
    def golden(self) -> GoldenRows:
        """The golden volumes, in the same database."""
        return GoldenRows(self._engine, self.host)

    def was_cut(self) -> bool:
        """Return whether the database failed since this was asked last: work may have ended without all of its undoing."""
        cut = self._cut.is_set()
        self._cut.clear()
        return cut

    def cut(self) -> None:
        """Have :meth:`was_cut` say so again."""
        self._cut.set()

    def close(self) -> None:
        """Close the database; nothing is asked of it any more."""
        self._engine.dispose()

    def reserve(self, node: NetworkNode, document: Mapping[str, Any], tables: Mapping[str, Any]) -> Record:
        """Take a host name and a hardware address for a machine that is about to be provisioned.

        :raises ConflictError: when another record holds one of them; names it.
        """
        with self._transaction() as connection:
            exclude_others(connection, _NAMES)
            refuse_holder(connection, node.hostname, node.mac)
            former = connection.scalar(select(hosts.c.generation).where(hosts.c.hostname == node.hostname))
            floor = connection.scalar(select(about.c.value).where(about.c.key == FLOOR))
            generation = 1 + max(former or 0, int(floor or 0))
            if former is None:
                connection.execute(insert(hosts).values(hostname=node.hostname, generation=generation))
            else:
                connection.execute(update(hosts).where(hosts.c.hostname == node.hostname).values(generation=generation))
            record = Record(
                node=node,
                document=document,
                tables=tables,
                state=State.PROVISIONING,
                generation=generation,
                host=self.host,
            )
            connection.execute(insert(nodes).values(**row_of(record), since=utc()))
        return record

    def number(self, hostname: Hostname, label: str) -> int:
        """Return a target number that was never used before."""
        with self._transaction() as connection:
            made = connection.execute(insert(target_numbers).values(hostname=hostname, label=label))
            (number,) = made.inserted_primary_key or (0,)
            return int(number)

    def save(self, record: Record, beside: Callable[[Connection], None] = lambda _: None) -> Record:
        """Write a record in place of what it was before.

        :param beside: does more in the same transaction, before it.
        """
        with self._transaction() as connection:
            beside(connection)
            row = row_of(record)
            change = update(nodes).where(self._is(record))
            written = connection.execute(change.values(**row, since=_since(record.state.value, record.problem))).rowcount
            if self.host and not written:  # others may give up this host, and all that it has, while it is cut off
                raise ConflictError(f"{record.hostname} was given up while {self.host} worked on it", hint="see terra hosts")
        return record

    def exchange(self, former: Record, record: Record) -> Record:
        """Write what a ready machine shall be in place of what it was; its state and problem stay as they are.

        :param former: the machine as it is known to be.
        :raises ConflictError: when another machine holds its address, or when it is not what it was any more.
        """
        row = row_of(record)
        with self._transaction() as connection:
            exclude_others(connection, _NAMES)
            self._require(connection, former)
            refuse_holder(connection, record.node.hostname, record.mac, itself=True)
            connection.execute(update(nodes).where(self._is(record)).values({name: row[name] for name in _VERSIONED}))
        return record

    def put_back(self, former: Record) -> None:
        """Write a ready machine as it was before a change that failed; one that is being deleted by now is left alone."""
        row = row_of(former)
        ready = self._is(former) & (nodes.c.state != State.DELETING.value)
        change = update(nodes).where(ready).values({name: row[name] for name in _VERSIONED})
        self._making_room(lambda connection: connection.execute(change))

    def require(self, record: Record) -> None:
        """Check that a machine is ready, and what it is known to be.

        :raises ConflictError: when it is not.
        """
        with self._transaction() as connection:
            self._require(connection, record)

    def require_free(self, hostname: Hostname, mac: Mac, *, itself: bool = False) -> None:
        """Check that a name and an address are free.

        :param itself: whether the machine of this name may hold them.
        :raises ConflictError: when another record holds one of them; names it.
        """
        with self._transaction() as connection:
            refuse_holder(connection, hostname, mac, itself=itself)

    def _require(self, connection: Connection, former: Record) -> None:
        query = select(nodes).where(nodes.c.hostname == former.hostname).with_for_update()
        row = connection.execute(query).one_or_none()
        found = None if row is None else read_values(dict(row._mapping))
        changing = {State.PROVISIONING, State.DELETING}
        if not isinstance(found, Record) or found.state in changing or version_of(found) != version_of(former):
            raise ConflictError(f"{former.hostname} was changed by somebody else meanwhile", hint="look at it, and apply again")

    def set_problem(self, record: Record | SetAside, problem: str, *, state: str = "") -> None:
        """Note what is wrong with a machine, and leave the rest of its record unchanged.

        :param state: do nothing when it has another state by now.
        """
        meant = self._is(record) & (nodes.c.state == state) if state else self._is(record)
        change = update(nodes).where(meant).values(problem=problem, since=_since(nodes.c.state, problem))
        self._making_room(lambda connection: connection.execute(change))

    def begin_delete(self, hostname: str) -> Record | SetAside:
        """Mark a machine for removal, also one whose removal failed and one that is set aside.

        :returns: the record as it was.
        :raises NotFoundError: when there is none of this name.
        :raises ConflictError: when it is being provisioned, or on its way already.
        """

        def mark(connection: Connection) -> Record | SetAside:
            record = self._of_own(_find(connection, hostname, alone=True))
            state = record.state.value if isinstance(record, Record) else record.state
            if record.state is State.PROVISIONING:
                raise ConflictError(f"{hostname} is being provisioned", hint="wait for the end of it, or interrupt it")
            if state == State.DELETING.value and not record.problem:
                raise ConflictError(f"{hostname} is being deleted already", hint="wait for the end of it")
            values = {"state": State.DELETING.value, "problem": "", "since": utc()}
            connection.execute(update(nodes).where(self._is(record)).values(**values))
            return record

        return self._making_room(mark)

    def restate(self, record: Record | SetAside, state: str, problem: str = "") -> None:
        """Note the state of a machine and what is wrong with it, and leave the rest of its record unchanged."""
        change = update(nodes).where(self._is(record)).values(state=state, problem=problem, since=_since(state, problem))
        self._making_room(lambda connection: connection.execute(change))

    def forget(self, record: Record | SetAside) -> None:
        """Drop a record; its host name and address are free again."""
        self._making_room(lambda connection: connection.execute(delete(nodes).where(self._is(record))))

    def keep_room(self) -> None:
        """Reserve the room that a delete on a full disk needs; called every few seconds."""
        self._ballast.take()

    def holds(self, record: Record | SetAside) -> bool:
        """Return whether this very machine still exists."""
        with self._transaction() as connection:
            return connection.execute(select(nodes.c.mac).where(_is(record))).first() is not None

    def get(self, hostname: str) -> Record:
        """Return the record of a machine.

        :raises NotFoundError: when there is none of this name.
        :raises UnavailableError: when another host has its disks.
        :raises TerraError: when it is set aside.
        """
        record = self.find(hostname)
        if isinstance(record, SetAside):
            raise TerraError(f"{hostname} is set aside: {record.said}", hint=f"terra delete {hostname} takes it away")
        return record

    def find(self, hostname: str) -> Record | SetAside:
        """Return the record of a machine, also of one that is set aside.

        :raises NotFoundError: when there is none of this name.
        :raises UnavailableError: when another host has its disks.
        """
        return self._of_own(self.find_anywhere(hostname))

    def find_anywhere(self, hostname: str) -> Record | SetAside:
        """Return the record of a machine, whichever host has its disks.

        :raises NotFoundError: when there is none of this name.
        """
        with self._transaction() as connection:
            return _find(connection, hostname)

    def every(self) -> Sequence[Record | SetAside]:
        """Return every record by host name, also those that are set aside."""
        everywhere = self._known.every()
        if not self.host:
            return everywhere
        seen, own = self._own
        if seen is not everywhere:  # which is the same object for as long as nothing changes
            own = tuple(record for record in everywhere if record.host == self.host)
            self._own = everywhere, own
        return own

    def everywhere(self) -> Sequence[Record | SetAside]:
        """Return every record by host name, whichever host has the disks."""
        return self._known.every()

    def named(self, hostnames: Sequence[str]) -> Sequence[Record | SetAside]:
        """Return the records of these machines; a name without a record is left out."""
        return [record for record in self._known.named(hostnames) if not self.host or record.host == self.host]

    def bootable(self) -> Sequence[NodeBoot]:
        """Return what every provisioned machine boots."""
        if not self.host:
            return self._known.bootable()
        own = {record.hostname for record in self.every()}
        return [boot for boot in self._known.bootable() if boot.hostname in own]

    def bootable_everywhere(self) -> Sequence[NodeBoot]:
        """Return what every provisioned machine boots, whichever host has its disks; called every few seconds."""
        return self._known.bootable()

    def since(self, record: Record | SetAside) -> str:
        """Return since when a machine is in its state, in UTC as RFC 3339 has it; empty where that is not known."""
        with self._transaction() as connection:
            return str(connection.scalar(select(nodes.c.since).where(_is(record))) or "")

    def times(self) -> Mapping[str, str]:
        """Return since when each machine is in its state, by host name, whichever host has its disks."""
        return self._known.times()

    def machines_of(self, macs: Collection[str]) -> Mapping[str, tuple[str, int]]:
        """Return the names of the machines with these addresses, of all hosts, and which of that name each is."""
        columns = (nodes.c.mac, nodes.c.hostname, nodes.c.generation)
        with self._transaction() as connection:
            rows = [row for some in batched(macs) for row in connection.execute(select(*columns).where(nodes.c.mac.in_(some)))]
        return {row.mac: (row.hostname, row.generation) for row in rows}

    def targets(self, numbers: Collection[int]) -> Mapping[int, tuple[tuple[str, int], KeptTarget]]:
        """Return the targets with these numbers, and whose they are; of numbers that nobody has now, nothing."""
        found = dict[int, tuple[tuple[str, int], KeptTarget]]()
        for some in batched(numbers):
            query = select(target_numbers.c.hostname).where(target_numbers.c.number.in_(some))
            with self._transaction() as connection:
                hostnames = connection.scalars(query).all()
            for record in self.named(hostnames):
                own = {kept.target.id: ((record.hostname, record.generation), kept) for kept in record.every_target}
                found.update({number: own[number] for number in own.keys() & set(some)})
        return found

    def all(self) -> Sequence[Record]:
        """Return every record that can be read, by host name."""
        return [record for record in self.every() if isinstance(record, Record)]

    def set_aside(self) -> Sequence[SetAside]:
        """Return every record that cannot be read, by host name."""
        return [record for record in self.every() if isinstance(record, SetAside)]

    def _is(self, record: Record | SetAside) -> ColumnElement[bool]:
        """Return the condition for this very machine, unless it is another host's, which alone writes of it."""
        return _is(record) & (nodes.c.host == self.host) if self.host else _is(record)

    def _of_own(self, record: Record | SetAside) -> Record | SetAside:
        if self.host and record.host != self.host:
            said = f"{record.host or 'no host'} has the disks of {record.hostname}, and not {self.host}"
            raise UnavailableError(said, hint="terra hosts shows all of them")
        return record

    def _making_room(self, work: Callable[[Connection], T]) -> T:
        """Remove a machine even when the disk is full: free the reserved room and try again."""
        try:
            with self._transaction() as connection:
                return work(connection)
        except DatabaseFull:
            if not self._ballast.drop():
                raise
        with self._transaction() as connection:
            return work(connection)

    def _note_error(self, context: ExceptionContext) -> None:
        error = context.sqlalchemy_exception
        failed = isinstance(error, DBAPIError) and (isinstance(error, OperationalError) or is_away(error))
        if failed and not context.is_pre_ping:  # what was cut before its use is connected again
            self._cut.set()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with explained(self._engine), self._engine.begin() as connection:
            yield connection


def version_of(record: Record) -> str:
    """Return a text that is another one once anything of a machine has changed, its state and its problem aside."""
    row = row_of(record)
    decisive = [record.generation, *(row[name] for name in _VERSIONED)]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:32]


def _is(record: Record | SetAside) -> ColumnElement[bool]:
    """Return the condition for this very machine, and not a later one of the same name."""
    return (nodes.c.hostname == record.hostname) & (nodes.c.generation == record.generation)


def _since(state: ColumnElement[str] | str, problem: str) -> ColumnElement[str]:
    """Return the time of a machine's state: the one that it has, or now where the state or the problem changes."""
    return case(((nodes.c.state == state) & (nodes.c.problem == problem), nodes.c.since), else_=utc())


def refuse_holder(connection: Connection, hostname: Hostname, mac: Mac, *, itself: bool = False) -> None:
    """Refuse a name or an address that a machine has.

    :param itself: whether the machine of this name may have them.
    :raises ConflictError: naming the machine.
    """
    query = select(nodes.c.hostname, nodes.c.mac, nodes.c.state).where((nodes.c.hostname == hostname) | (nodes.c.mac == mac))
    for holder in connection.execute(query):
        if itself and holder.hostname == hostname:
            continue
        what = f"the host name {hostname}" if holder.hostname == hostname else f"the MAC address {mac}"
        change = "change that machine: terra apply node.toml; or " if holder.hostname == hostname else ""
        raise ConflictError(
            f"{what} belongs to {holder.hostname} ({holder.mac}), which is {holder.state}",
            hint=f"{change}choose another, or delete that machine first: terra delete {holder.hostname}",
        )


def _find(connection: Connection, hostname: str, *, alone: bool = False) -> Record | SetAside:
    """Return a record; ``alone`` keeps others from changing it to the end of the transaction."""
    query = select(nodes).where(nodes.c.hostname == hostname)
    row = connection.execute(query.with_for_update() if alone else query).one_or_none()
    if row is None:
        raise NotFoundError(f"no machine is named {hostname!r}", hint="terra list shows all of them")
    return read_values(dict(row._mapping))
