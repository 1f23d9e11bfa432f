"""The records of all machines, kept in memory: a row is read again when it was changed, and not whenever somebody looks."""

from __future__ import annotations

import threading
from bisect import insort
from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import Connection, Engine, Row, Text, cast, event, select

from terra_core.controller.database import KeptJson, nodes, read_json
from terra_core.controller.records import Record, SetAside, State
from terra_core.controller.rows import read_values
from terra_core.hookspecs import NodeBoot
from terra_core.service.database import explained
from terra_core.system.garbage import uncollected

_COLUMNS = [cast(column, Text).label(column.name) if isinstance(column.type, KeptJson) else column for column in nodes.c]
"""JSON as text: most rows are as they were when they were read last, which can be told without parsing them."""
_JSON = [column.name for column in nodes.c if isinstance(column.type, KeptJson)]
_MOST = 500
"""So many rows are read by name; of more changes, all rows are read."""


@frozen
class _Entry:
    """A machine that was read.

    :param mark: the hash of its row.
    :param record: its record.
    :param boot: what it boots, when it is ready.
    :param since: since when it is in its state.
    """

    mark: int
    record: Record | SetAside
    boot: NodeBoot | None
    since: str


class Known:
    """The machines of a database. May be used from several threads.

    What this process writes is noticed by the host names in its statements, and what others write into a SQLite file by the
    file's counter of changes. Another database has neither for others' changes: all of its rows are read each time, and those
    that are new become records.

    :param engine: the database.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reading = threading.Lock()
        self._noting = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._names: list[str] = []  # in order
        self._every: Sequence[Record | SetAside] = ()
        self._bootable: Sequence[NodeBoot] = ()
        self._changed: set[str] = set()
        self._unknown = True  # whether something was changed of which the host name is not known
        self._counted: object = None
        event.listen(engine, "after_cursor_execute", self._note)

    def every(self) -> Sequence[Record | SetAside]:
        """Return every record by host name."""
        with self._reading:
            self._refresh()
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
                # A SQLite file has one connection for all threads, so that what was noted has been committed by now.
                counted = _counted(connection)
                whole = unknown or counted is None or counted != self._counted or len(changed) > _MOST
                query = select(*_COLUMNS)
                if not whole:
                    query = query.where(nodes.c.hostname.in_(changed))
                rows = connection.execute(query).all() if whole or changed else []
        except BaseException:
            with self._noting:
                self._changed |= changed
                self._unknown |= unknown
            raise
        self._counted = counted
        if whole:
            with uncollected():
                self._entries = {row.hostname: self._entry(row) for row in rows}
            self._names = sorted(self._entries, key=str)
        for row in rows if not whole else ():
            if row.hostname not in self._entries:
                insort(self._names, row.hostname, key=str)
            self._entries[row.hostname] = self._entry(row)
        for name in changed - {row.hostname for row in rows} if not whole else ():
            if self._entries.pop(name, None) is not None:
                self._names.remove(name)
        if whole or changed:
            entries = [self._entries[name] for name in self._names]
            self._every = tuple(entry.record for entry in entries)
            self._bootable = tuple(entry.boot for entry in entries if entry.boot is not None)

    def _entry(self, row: Row[Any]) -> _Entry:
        mark, former = hash(tuple(row)), self._entries.get(row.hostname)
        if former is not None and former.mark == mark:
            return former
        record = read_values(_parsed(row))
        state = record.state.value if isinstance(record, Record) else record.state
        return _Entry(mark, record, record.boot if state == State.READY.value else None, str(row.since))


def _parsed(row: Row[Any]) -> Mapping[str, Any]:
    values = dict(row._mapping)  # the documented way to its columns by name
    return {**values, **{name: read_json(values[name]) for name in _JSON}}


def _counted(connection: Connection) -> object:
    """Return what changes when others have written to a SQLite file; ``None`` for another database, which has no such thing."""
    pooled = connection.connection
    if connection.dialect.name != "sqlite" or pooled.record_info is None:
        return None
    own = pooled.record_info.setdefault("terra.known", object())  # each connection counts for itself
    return own, connection.exec_driver_sql("pragma data_version").scalar()
