"""What a look at all machines reads of PostgreSQL: the rows that were changed, whoever changed them, and no others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import NullPool, Update, create_engine, event, insert, select, update

from lab.postgresql import Postgresql
from terra_core.controller import known
from terra_core.controller.database import nodes, open_database
from terra_core.controller.records import Record, SetAside
from terra_core.controller.rows import read_values
from terra_core.controller.store import Store
from tests.unit.controller.fakes import node_document


def reserve(store: Store, at: int) -> None:
    document = node_document(hostname=f"cm-{at}", mac=f"02:00:00:00:00:0{at}")
    store.reserve(document.value, document.raw, document.tables)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the host names of rows that are made into records for looks at all machines, as they are."""
    names: list[str] = []
    def counting(values: Mapping[str, Any]) -> Record | SetAside:
        names.append(values["hostname"])
        return read_values(values)

    monkeypatch.setattr("terra_core.controller.known.read_values", counting)
    return names


def problems(store: Store) -> dict[str, str]:
    """Look at all machines; return the problems that they have."""
    return {one.hostname: one.problem for one in store.every() if isinstance(one, Record) and one.problem}


def change(problem: str, hostname: str) -> Update:
    return update(nodes).where(nodes.c.hostname == hostname).values(problem=problem)


def test_a_look_reads_what_was_changed_whoever_did_it(postgresql: Postgresql, read: list[str]) -> None:
    url = postgresql.make("looks")
    store = Store(open_database(url))
    for at in range(6):
        reserve(store, at)
    assert len(store.every()) == len(read) == 6
    read.clear()
    assert len(store.every()) == len(store.times()) == 6
    store.set_problem(store.get("cm-3"), "own")
    assert problems(store) == {"cm-3": "own"}
    assert read == ["cm-3"]
    others = create_engine(url, poolclass=NullPool)
    with others.connect() as early, others.connect() as late:
        early.execute(change("early", "cm-1"))
        late.execute(change("late", "cm-2"))
        late.commit()
        assert problems(store) == {"cm-3": "own", "cm-2": "late"}
        early.commit()  # the number of its transaction is less than one that was seen
        assert problems(store) == {"cm-3": "own", "cm-2": "late", "cm-1": "early"}
        assert read == ["cm-3", "cm-2", "cm-1"]
        early.execute(nodes.update().values(problem="undone"))
        early.rollback()
        row = dict(late.execute(select(nodes).where(nodes.c.hostname == "cm-0")).one()._mapping)
        late.execute(nodes.delete().where(nodes.c.hostname == "cm-0"))
        late.execute(insert(nodes).values({**row, "problem": "made again"}))
        late.commit()
        assert problems(store) == {"cm-3": "own", "cm-2": "late", "cm-1": "early", "cm-0": "made again"}
        late.execute(nodes.delete().where(nodes.c.hostname == "cm-3"))
        late.commit()
        assert problems(store) == {"cm-2": "late", "cm-1": "early", "cm-0": "made again"}
    assert read == ["cm-3", "cm-2", "cm-1", "cm-0"]
    with others.connect().execution_options(isolation_level="AUTOCOMMIT") as other:
        other.exec_driver_sql("vacuum full nodes")  # rows get other places
        assert len(problems(store)) == 3
        read.clear()
        other.execute(nodes.update().values(problem="all"))
    assert problems(store) == dict.fromkeys((f"cm-{at}" for at in (0, 1, 2, 4, 5)), "all")
    assert sorted(read) == ["cm-0", "cm-1", "cm-2", "cm-4", "cm-5"]
    with others.connect() as other:
        other.execute(nodes.delete())
        other.commit()
    assert not store.every()
    store.close()


def test_of_many_changes_all_rows_are_read(
    postgresql: Postgresql, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known, "_MOST", 2)
    store = Store(open_database(postgresql.make("many")))
    for at in range(6):
        reserve(store, at)
    store.every()
    for at in range(3):
        store.set_problem(store.get(f"cm-{at}"), "x")
    read.clear()
    assert list(problems(store)) == ["cm-0", "cm-1", "cm-2"]
    assert sorted(read) == ["cm-0", "cm-1", "cm-2"], "rows that are as they were are not parsed again"
    store.close()


def test_after_another_start_of_the_server_no_row_counts_as_read(postgresql: Postgresql, read: list[str]) -> None:
    """It may have been put back to former days, after which numbers of transactions come a second time."""
    store = Store(open_database(postgresql.make("back")))
    reserve(store, 1)
    store.every()
    asked: list[str] = []
    event.listen(store.engine, "after_cursor_execute", lambda *given: asked.append(given[2]))
    store.every()
    assert not [one for one in asked if "document" in one]
    postgresql.stop()
    postgresql.start()
    assert [record.hostname for record in store.every()] == ["cm-1"]
    assert [one for one in asked if "document" in one]
    store.close()
