"""The tables of what happened to machines, and how far their boots came."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    Table,
    Text,
    cast,
    delete,
    exists,
    func,
    insert,
    select,
    update,
)

from terra_core.config.structure import structure
from terra_core.controller.database import boots, happenings, nodes, read_json
from terra_core.controller.happening import BootProgress, Happening, Kind, Stage
from terra_core.errors import ConfigError
from terra_core.service.database import explained
from terra_core.service.database_server import exclude_others
from terra_core.system.garbage import uncollected

T = TypeVar("T")
_WRONG = (ConfigError, ValueError, TypeError, KeyError, AttributeError, RecursionError)
_STAGES = {stage.value: stage for stage in Stage}
_BOOTS = (boots.c.hostname, boots.c.generation, boots.c.stage, boots.c.since, cast(boots.c.report, Text).label("report"))
_PRUNED_EACH = 20
_MOST_COUNTED = 100_000
_AT_ONCE = 400
"""How many names stand in one statement."""
_ORDER = int.from_bytes(b"order")
"""The advisory lock of PostgreSQL under which numbers are given: else a lower one could be committed after it was read past."""

Machine = tuple[str, int]
"""The name of a machine, and which of that name it is."""

_ReadProgress = tuple[tuple[Any, ...], BootProgress]
"""A row of ``boots`` as text, and what it says: most are as they were when they were read last, which needs no parsing."""


class HappeningRows:
    """The rows, in the controller's database.

    :param engine: from :func:`terra_core.controller.database.open_database`.
    :param most: how many happenings are kept of all machines.
    :param most_of_kind: how many of one kind of one machine, and up to 20 more.
    """

    def __init__(self, engine: Engine, most: int, most_of_kind: int) -> None:
        self._engine, self._most, self._most_of_kind = engine, most, most_of_kind
        self._counted: Counter[tuple[str, int, Kind]] = Counter()
        self._boots: Mapping[Machine, _ReadProgress] = {}

    def write(self, batch: Sequence[Happening]) -> Collection[Machine]:
        """Write what happened to machines that exist, in this order, with what it means for their boots; return them."""
        with self._transaction() as connection:
            return self.add(connection, batch)

    def add(self, connection: Connection, batch: Sequence[Happening]) -> Collection[Machine]:
        """Do the same as :meth:`write` in a transaction that is begun already."""
        exclude_others(connection, _ORDER)
        known = _existing(connection, {happening.hostname for happening in batch})
        taken = [happening for happening in batch if happening.machine in known]
        if taken:
            connection.execute(insert(happenings), [_row_of(happening) for happening in taken])
            _advance(connection, taken)
            self._drop_old(connection, Counter((*happening.machine, happening.kind) for happening in taken))
        return {happening.machine for happening in taken}

    def tidy(self) -> None:
        """Drop the oldest of all beyond the bound, and what belongs to machines that are gone."""
        with self._transaction() as connection:
            theirs = (nodes.c.hostname == boots.c.hostname) & (nodes.c.generation == boots.c.generation)
            for hostname, generation in connection.execute(
                select(boots.c.hostname, boots.c.generation).where(~exists().where(theirs))
            ).all():
                for table in (happenings, boots):
                    connection.execute(delete(table).where(_of(table, hostname, generation)))
            _drop_beyond(connection, happenings.c.number > 0, self._most)

    def after(self, hostname: str, generation: int, position: int, most: int) -> Sequence[Happening]:
        """Return what happened to a machine after a position, in order; all of it after one that was never given here.

        Such a position is from a later state of the database, which was put back to an earlier one since.
        """
        own = select(happenings).where(_of(happenings, hostname, generation)).order_by(happenings.c.number).limit(most)
        found = self._read(own.where(happenings.c.number > position))
        if not found and position:
            with self._transaction() as connection:
                newest = connection.scalar(select(func.max(happenings.c.number)))
            found = self._read(own) if position > (newest or 0) else found
        return found

    def newest(self, hostname: str, generation: int, most: int) -> Sequence[Happening]:
        """Return the last of what happened to a machine, in order."""
        query = select(happenings).where(_of(happenings, hostname, generation))
        return self._read(query.order_by(happenings.c.number.desc()).limit(most))[::-1]

    def last_of(self, kind: Kind) -> Sequence[Happening]:
        """Return the last happening of a kind of each machine."""
        last = select(func.max(happenings.c.number)).where(happenings.c.kind == kind.value)
        last = last.group_by(happenings.c.hostname, happenings.c.generation)
        return self._read(select(happenings).where(happenings.c.number.in_(last)))

    def boot(self, hostname: str, generation: int) -> BootProgress:
        """Return how far the boot of a machine came."""
        with self._transaction() as connection:
            row = connection.execute(select(boots).where(_of(boots, hostname, generation))).one_or_none()
        return BootProgress() if row is None else _progress_of(row._mapping)

    def boots(self) -> Mapping[Machine, BootProgress]:
        """Return how far the boots of all machines came of which anything was seen."""
        with self._transaction() as connection:
            rows = [tuple(row) for row in connection.execute(select(*_BOOTS))]
        former, found = self._boots, dict[Machine, _ReadProgress]()
        with uncollected():
            for row in rows:
                known = former.get(row[:2])
                found[row[:2]] = known if known is not None and known[0] == row else (row, _read_progress(row))
            self._boots = found
            return {machine: progress for machine, (_, progress) in found.items()}

    def _read(self, query: Select[Any]) -> Sequence[Happening]:
        with self._transaction() as connection:
            rows = connection.execute(query).all()
        return [happening for row in rows if (happening := _happening_of(row._mapping)) is not None]

    def _drop_old(self, connection: Connection, counts: Mapping[tuple[str, int, Kind], int]) -> None:
        """Drop the oldest beyond the bound of a kind: at the first of it, and each so many after that."""
        if len(self._counted) > _MOST_COUNTED:
            self._counted.clear()
        for key, count in counts.items():
            former = self._counted[key]
            self._counted[key] += count
            if not former or former // _PRUNED_EACH < self._counted[key] // _PRUNED_EACH:
                hostname, generation, kind = key
                of_kind = _of(happenings, hostname, generation) & (happenings.c.kind == kind.value)
                _drop_beyond(connection, of_kind, self._most_of_kind)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with explained(self._engine), self._engine.begin() as connection:
            yield connection


def batched(values: Iterable[T]) -> Iterator[list[T]]:
    """Yield values in lists that are short enough for one statement."""
    left = iter(values)
    while some := list(islice(left, _AT_ONCE)):
        yield some


def _of(table: Table, hostname: str, generation: int) -> ColumnElement[bool]:
    return (table.c.hostname == hostname) & (table.c.generation == generation)


def _existing(connection: Connection, hostnames: Collection[str]) -> Collection[Machine]:
    """Return those of these machines that exist, by the numbers that they have now."""
    found = set[Machine]()
    for some in batched(hostnames):
        query = select(nodes.c.hostname, nodes.c.generation).where(nodes.c.hostname.in_(some))
        found.update((row.hostname, row.generation) for row in connection.execute(query))
    return found


def _advance(connection: Connection, taken: Sequence[Happening]) -> None:
    """Note how far the boots of these machines came."""
    theirs: dict[Machine, list[Happening]] = {}
    for happening in taken:
        theirs.setdefault(happening.machine, []).append(happening)
    for (hostname, generation), own in theirs.items():
        this = _of(boots, hostname, generation)
        row = connection.execute(select(boots).where(this)).one_or_none()
        former = BootProgress() if row is None else _progress_of(row._mapping)
        progress = reduce(BootProgress.after, own, former)
        values = {"stage": progress.stage.value, "since": progress.since, "report": dict(progress.report)}
        if row is None:
            connection.execute(insert(boots).values(hostname=hostname, generation=generation, **values))
        elif progress != former:
            connection.execute(update(boots).where(this).values(**values))


def _drop_beyond(connection: Connection, which: ColumnElement[bool], most: int) -> None:
    """Drop the oldest of some happenings beyond a number of them."""
    last = select(happenings.c.number).where(which).order_by(happenings.c.number.desc()).offset(most).limit(1)
    number = connection.scalar(last)
    if number is not None:
        connection.execute(delete(happenings).where(which & (happenings.c.number <= number)))


def _row_of(happening: Happening) -> dict[str, Any]:
    names = ("hostname", "generation", "time", "text")
    return {name: getattr(happening, name) for name in names} | {"kind": happening.kind.value, "data": dict(happening.data)}


def _happening_of(values: Mapping[Any, Any]) -> Happening | None:
    """Return a row as a happening; ``None`` for one that cannot be read, which hides no other."""
    try:
        return Happening(
            hostname=values["hostname"],
            generation=values["generation"],
            kind=Kind(values["kind"]),
            text=structure(values["text"], str),
            data=values["data"] if isinstance(values["data"], Mapping) else {},
            time=structure(values["time"], str),
            number=values["number"],
        )
    except _WRONG:
        return None


def _read_progress(row: tuple[Any, ...]) -> BootProgress:
    _, _, stage, since, report = row
    return _progress_of({"stage": stage, "since": since, "report": read_json(report)})


def _progress_of(values: Mapping[Any, Any]) -> BootProgress:
    """Return a row as the progress of a boot; what cannot be read of it counts as never seen."""
    stage, since, report = _STAGES.get(values["stage"]), values["since"], values["report"]
    if stage is None or type(since) is not str:
        return BootProgress()
    return BootProgress(stage=stage, since=since, report=report if isinstance(report, Mapping) else {})
