"""The records of all machines, kept in memory: a row is read again when it was changed, and not whenever somebody looks."""

from __future__ import annotations

import threading
from bisect import insort
from collections.abc import Mapping, Sequence, Set
from typing import Any

from attrs import frozen
from sqlalchemy import Connection, Engine, Row, Text, cast, event, literal_column, select, text

from terra_core.controller.database import KeptJson, nodes, read_json
from terra_core.controller.happening_rows import batched
from terra_core.controller.records import Record, SetAside, State
from terra_core.controller.rows import read_values
from terra_core.hookspecs import NodeBoot
from terra_core.service.database import explained
from terra_core.service.database_server import POSTGRESQL
from terra_core.system.garbage import uncollected

_COLUMNS = [cast(column, Text).label(column.name) if isinstance(column.type, KeptJson) else column for column in nodes.c]
"""JSON as text: most rows are as they were when they were read last, which can be told without parsing them."""
_JSON = [column.name for column in nodes.c if isinstance(column.type, KeptJson)]
_MOST = 500
"""So many rows are read by name; of more changes, all rows are read."""
_VERSION = literal_column("concat(nodes.ctid, nodes.xmin)", Text).label("version")
"""The version of a row in PostgreSQL: its place, and the transaction that wrote it ("System Columns" of the manual)."""
_STATE = text(
    "select pg_postmaster_start_time()::text, "
    "coalesce(encode(sha256(string_agg(concat(ctid, xmin), ',')::bytea), 'hex'), '') from nodes"
)
"""Since when the server runs, and the versions of all rows: once it was put back, numbers of transactions come again."""


@frozen
class _Entry:
    """A machine that was read.

    :param mark: which version of its row it is of.
    :param record: its record.
    :param boot: what it boots, when it is ready.
    :param since: since when it is in its state.
    """

    mark: int | str
    record: Record | SetAside
    boot: NodeBoot | None
    since: str


@frozen
class _Changes:
    """What a look has found.

    :param counted: what is another value after the next change.
    :param rows: the rows that were read.
    :param names: whose rows were asked for, by host name; ``None`` for all rows that there are.
    """

    counted: object
    rows: Sequence[Row[Any]]
    names: Set[str] | None


class Known:
    """The machines of a database. May be used from several threads.

    What this process writes is noticed by the host names in its statements, and what others write into a SQLite file by the
    file's counter of changes. PostgreSQL says whether any row is another one than before, and then of each row: what is there
    is not read again. Of any other database all rows are read each time, and those that are new become records.

    :param engine: the database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reading = threading.Lock()
        self._noting = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._names: list[str] = []  # in order
        self._every: Sequence[Record | SetAside] | None = None  # as long as nobody asked since the last change
        self._bootable: Sequence[NodeBoot] | None = None
        self._changed: set[str] = set()
        self._unknown = True  # whether something was changed of which the host name is not known
        self._counted: object = None
        event.listen(engine, "after_cursor_execute", self._note)

    def every(self) -> Sequence[Record | SetAside]:
        """Return every record by host name."""
        with self._reading:
            self._refresh()
            if self._every is None:
                self._every = tuple(self._entries[name].record for name in self._names)
            return self._every

    def named(self, hostnames: Sequence[str]) -> Sequence[Record | SetAside]:
        """Return the records of these machines, in this order; a name without a record is left out."""
        with self._reading:
            self._refresh()
            return [self._entries[name].record for name in hostnames if name in self._entries]

    def bootable(self) -> Sequence[NodeBoot]:
        """Return what every machine boots that is ready, by host name."""
        with self._reading:
            self._refresh()
            if self._bootable is None:
                boots = (self._entries[name].boot for name in self._names)
                self._bootable = tuple(boot for boot in boots if boot is not None)
            return self._bootable

    def times(self) -> Mapping[str, str]:
        """Return since when each machine is in its state, by host name."""
        with self._reading:
            self._refresh()
            return {name: entry.since for name, entry in self._entries.items()}

    def _note(
        self, connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
    ) -> None:  # an event of SQLAlchemy's, whose types are not public
        """Note which rows a statement changes; it may be undone yet, and then they are read in vain."""
        compiled = context.compiled
        if getattr(getattr(compiled, "statement", None), "table", None) is not nodes:
            return
        values = [
            value
            for given in context.compiled_parameters
            for name, value in given.items()
            if name.partition("_")[0] == nodes.c.hostname.name
        ]
        with self._noting:
            if values and all(isinstance(value, str) for value in values):
                self._changed.update(values)
            else:
                self._unknown = True

    def _refresh(self) -> None:
        with self._noting:
            changed, unknown = self._changed, self._unknown
            self._changed, self._unknown = set(), False
        try:
            with explained(self._engine), self._engine.begin() as connection:
                if connection.dialect.name == POSTGRESQL:
                    changes = self._of_server(connection)
                else:
                    changes = self._of_file(connection, changed, unknown)
        except BaseException:
            with self._noting:
                self._changed |= changed
                self._unknown |= unknown
            raise
        if changes is not None:
            self._take(changes)

    def _of_server(self, connection: Connection) -> _Changes | None:
        """Return what changed in PostgreSQL. What is committed between these statements is read now, or at the next look."""
        columns = [*_COLUMNS, _VERSION]
        counted = tuple(connection.execute(_STATE).one())
        former = self._counted
        if counted == former:
            return None
        if not isinstance(former, tuple) or former[0] != counted[0]:
            return _Changes(counted, connection.execute(select(*columns)).all(), None)
        versions = {row.hostname: row.version for row in connection.execute(select(nodes.c.hostname, _VERSION))}
        new = [name for name, version in versions.items() if name not in self._entries or self._entries[name].mark != version]
        if len(new) > _MOST:
            return _Changes(counted, connection.execute(select(*columns)).all(), None)
        found = [connection.execute(select(*columns).where(nodes.c.hostname.in_(some))).all() for some in batched(new)]
        return _Changes(counted, [row for rows in found for row in rows], {*new, *(self._entries.keys() - versions.keys())})

    def _of_file(self, connection: Connection, changed: Set[str], unknown: bool) -> _Changes | None:
        """Return what changed in a SQLite file. It has one connection for all threads: what was noted is committed by now."""
        counted = _counted(connection)
        if unknown or counted is None or counted != self._counted or len(changed) > _MOST:
            return _Changes(counted, connection.execute(select(*_COLUMNS)).all(), None)
        if not changed:
            return None
        rows = connection.execute(select(*_COLUMNS).where(nodes.c.hostname.in_(changed))).all()
        return _Changes(counted, rows, changed)

    def _take(self, changes: _Changes) -> None:
        self._counted = changes.counted
        if changes.names is None:
            with uncollected():
                self._entries = {row.hostname: self._entry(row) for row in changes.rows}
            self._names = sorted(self._entries, key=str)
        else:
            for row in changes.rows:
                if row.hostname not in self._entries:
                    insort(self._names, row.hostname, key=str)
                self._entries[row.hostname] = self._entry(row)
            for name in changes.names - {row.hostname for row in changes.rows}:
                if self._entries.pop(name, None) is not None:
                    self._names.remove(name)
        self._every = self._bootable = None

    def _entry(self, row: Row[Any]) -> _Entry:
        mark, former = _mark_of(row), self._entries.get(row.hostname)
        if former is not None and former.mark == mark:
            return former
        record = read_values(_parsed(row))
        state = record.state.value if isinstance(record, Record) else record.state
        return _Entry(mark, record, record.boot if state == State.READY.value else None, str(row.since))


def _mark_of(row: Row[Any]) -> int | str:
    version = row._mapping.get(_VERSION.name)  # the documented way to its columns by name
    return hash(tuple(row)) if version is None else str(version)


def _parsed(row: Row[Any]) -> Mapping[str, Any]:
    values = {name: value for name, value in row._mapping.items() if name != _VERSION.name}
    return {**values, **{name: read_json(values[name]) for name in _JSON}}


def _counted(connection: Connection) -> object:
    """Return what changes when others have written to a SQLite file; ``None`` for another database, which has no such thing."""
    pooled = connection.connection
    if connection.dialect.name != "sqlite" or pooled.record_info is None:
        return None
    own = pooled.record_info.setdefault("terra.known", object())  # each connection counts for itself
    return own, connection.exec_driver_sql("pragma data_version").scalar()
