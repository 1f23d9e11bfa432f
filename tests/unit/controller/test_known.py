"""What a look at many machines costs: counted in statements and rows, not in time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from sqlalchemy import event

from terra_core.controller import known
from terra_core.controller.database import nodes, open_database
from terra_core.controller.records import Record, SetAside, State
from terra_core.controller.rows import read_values
from terra_core.controller.store import Store
from terra_core.errors import TerraError
from tests.unit.controller.fakes import node_document

MANY = 40


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the file of the database."""
    return tmp_path / "terra.db"


@pytest.fixture
def store(file: Path) -> Iterator[Store]:
    """Yield a store with many machines that are ready."""
    store = Store(open_database(f"sqlite:///{file}"))
    for at in range(MANY):
        document = node_document(hostname=f"node-{at:02}", mac=f"54:b2:03:07:00:{at:02x}")
        record = store.reserve(document.value, document.raw, document.tables)
        store.save(evolve(record, state=State.READY, digest=f"sha256:{'a' * 64}"))
    yield store
    store.close()


@contextmanager
def statements(store: Store) -> Iterator[list[str]]:
    """Offer the statements of a block."""
    seen: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:  # an event of SQLAlchemy's
        seen.append(statement)

    event.listen(store.engine, "after_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(store.engine, "after_cursor_execute", note)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the host names of rows that are made into records, as they are."""
    names: list[str] = []
    before = read_values

    def counting(values: Any) -> Record | SetAside:
        names.append(values["hostname"])
        return before(values)

    monkeypatch.setattr("terra_core.controller.known.read_values", counting)
    return names


def test_a_look_at_all_machines_is_one_statement_and_the_next_reads_no_row(store: Store, read: list[str]) -> None:
    with statements(store) as first:
        assert len(store.every()) == MANY
    assert len([one for one in first if "FROM nodes" in one]) == 1
    assert len(read) == MANY
    with statements(store) as second:
        assert len(store.every()) == len(store.bootable()) == len(store.times()) == MANY
        assert [one.hostname for one in store.named(["node-03", "nobody", "node-01"])] == ["node-03", "node-01"]
    assert not [one for one in second if "FROM nodes" in one]
    assert len(read) == MANY


def test_a_change_reads_the_rows_that_it_changed(store: Store, read: list[str]) -> None:
    store.every()
    read.clear()
    store.set_problem(store.get("node-07"), "its disk is missing")
    changed = store.every()
    assert [record.hostname for record in changed if record.problem] == ["node-07"]
    assert read == ["node-07"]
    store.forget(store.get("node-08"))
    document = node_document(hostname="node-99")
    record = store.reserve(document.value, document.raw, document.tables)
    assert [one.hostname for one in store.every()] == [*(f"node-{at:02}" for at in range(MANY) if at != 8), "node-99"]
    assert read == ["node-07", "node-99"]
    assert "node-99" not in [boot.hostname for boot in store.bootable()], "it is not ready"
    store.save(evolve(record, state=State.READY, digest=f"sha256:{'b' * 64}"))
    assert store.bootable()[-1].image == f"sha256:{'b' * 64}"
    store.begin_delete("node-01")
    assert "node-01" not in [boot.hostname for boot in store.bootable()]
    store.restate(record, "ready", "odd")
    assert store.every()[-1].problem == "odd"


def test_what_is_undone_leaves_what_was_known_right(store: Store) -> None:
    store.every()
    with store.engine.connect() as connection:
        connection.execute(nodes.update().values(problem="x"))
        connection.rollback()
    assert not [record for record in store.every() if record.problem]


@pytest.mark.parametrize("statement", ["update nodes set problem = 'x' where hostname = 'node-05'", "delete from nodes"])
def test_what_others_write_into_the_file_is_seen(store: Store, file: Path, read: list[str], statement: str) -> None:
    store.every()
    read.clear()
    with closing(sqlite3.connect(file)) as other, other:
        other.execute(statement)
    found = store.every()
    assert read == [record.hostname for record in found if record.problem], "rows that are as they were are not parsed again"
    assert len(found) == (MANY if "update" in statement else 0)


def test_statements_without_a_host_name_are_seen(store: Store) -> None:
    store.every()
    with store.engine.begin() as connection:
        connection.execute(nodes.update().values(problem="all of them"))
    assert all(record.problem == "all of them" for record in store.every())


def test_a_look_that_failed_is_taken_again(store: Store, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.every()
    store.set_problem(store.get("node-07"), "its disk is missing")

    def fail(_: object) -> None:
        raise TerraError("the disk is slow")

    with monkeypatch.context() as patch:
        patch.setattr(known, "_counted", fail)
        with pytest.raises(TerraError):
            store.every()
    assert [record.hostname for record in store.every() if record.problem] == ["node-07"]


def test_a_name_that_is_no_text_does_not_hide_the_others(store: Store, file: Path) -> None:
    with closing(sqlite3.connect(file)) as other, other:
        other.execute("update nodes set hostname = x'ff00' where hostname = 'node-05'")
    found = store.every()
    assert len(found) == MANY
    assert [record.hostname for record in found if isinstance(record, SetAside)] == ["b'\\xff\\x00'"]
