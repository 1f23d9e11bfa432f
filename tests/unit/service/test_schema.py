"""Migrating a database: what is kept, what is refused, and that a migration that fails changes nothing."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
import structlog
from sqlalchemy import JSON, Column, Connection, Integer, MetaData, String, Table, UniqueConstraint

from lab.databases import contents, differences
from terra_core.errors import TerraError
from terra_core.service.database import open_database
from terra_core.service.room import DatabaseFull
from terra_core.service.schema import Schema, about_table

FIRST = """
create table about ("key" varchar not null, value varchar not null, primary key ("key"));
create table things (name varchar not null, parts json not null, primary key (name));
insert into about values ('schema', '1');
insert into things values ('chair', '["leg"]'), ('cup', '{'), ('box', '5'), ('table', '["leg", "top"]');
"""
REVISIONS = {
    "1": "def upgrade() -> None:\n    pass\n",
    "2": """
def upgrade() -> None:
    rewrite_json(op.get_bind(), "things", key=("name",), column="parts", change=_named)


def _named(parts):
    return [{"name": part} for part in parts]
""",
    "3": """
def upgrade() -> None:
    with op.batch_alter_table("things") as things:
        things.alter_column("name", new_column_name="label")
        things.add_column(sa.Column("weight", sa.Integer, nullable=False, server_default="1"))
    with op.batch_alter_table("things") as things:
        things.create_unique_constraint("uq_things_weight", ["label", "weight"])
""",
}


@pytest.fixture
def revisions(tmp_path: Path) -> Path:
    """Write the revisions to a directory whose name holds special characters."""
    directory = tmp_path / "50% of, them: all"
    directory.mkdir()
    for number, text in REVISIONS.items():
        former = None if number == "1" else str(int(number) - 1)
        (directory / f"schema_{number}.py").write_text(
            "import sqlalchemy as sa\nfrom alembic import op\nfrom terra_core.service.migration import rewrite_json\n"
            f"revision = {number!r}\ndown_revision = {former!r}\n{text}"
        )
    return directory


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Make a database of the first schema."""
    path = tmp_path / "things.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(FIRST)
    return path


def present(revisions: Path) -> Schema:
    tables = MetaData()
    about_table(tables)
    Table(
        "things",
        tables,
        Column("label", String, primary_key=True),
        Column("parts", JSON, nullable=False),
        Column("weight", Integer, nullable=False, server_default="1"),
        UniqueConstraint("label", "weight", name="uq_things_weight"),
    )
    return Schema(tables, str(revisions))


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def unstamped(path: Path) -> list[str]:
    """Return the content of a database without Alembic's notes: every accepted database gets those."""
    return [statement for statement in contents(path) if "alembic_version" not in statement]


def test_a_database_goes_through_every_schema_and_is_as_a_new_one(path: Path, revisions: Path, tmp_path: Path) -> None:
    schema = present(revisions)
    with structlog.testing.capture_logs() as said:
        engine = open_database(f"sqlite:///{path}", schema)
    fresh = open_database(f"sqlite:///{tmp_path / 'fresh.db'}", schema)
    assert differences(engine, schema.tables, fresh) == []
    engine.dispose()
    fresh.dispose()
    assert rows(path, "select * from things order by label") == [
        ("box", 5, 1),
        ("chair", '[{"name": "leg"}]', 1),
        ("cup", "{", 1),
        ("table", '[{"name": "leg"}, {"name": "top"}]', 1),
    ], "what cannot be read stays as it is"
    assert rows(path, "select value from about where key = 'schema'") == [("3",)], "which earlier versions of Terra read"
    copy = path.with_name("things.db.schema-1")
    expected = {"event": "the database was migrated", "log_level": "info", "former": "1", "schema": "3"}
    assert said == [{**expected, "database": f"sqlite:///{path}", "copy": str(copy)}]


def test_the_copy_is_the_database_as_it_was_and_for_its_owner_alone(path: Path, revisions: Path) -> None:
    path.chmod(0o644)
    before = contents(path)
    copy = path.with_name("things.db.schema-1")
    copy.write_text("of an earlier time")
    copy.with_name(f".{copy.name}.new").write_text("of a daemon that was killed")
    open_database(f"sqlite:///{path}", present(revisions)).dispose()
    assert unstamped(copy) == before
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert {one.name for one in path.parent.glob("*things.db*")} == {"things.db", copy.name}
    copy.rename(path)
    open_database(f"sqlite:///{path}", present(revisions)).dispose()
    assert rows(path, "select value from about where key = 'schema'") == [("3",)], "and can be put back"


def test_a_database_of_the_present_schema_is_neither_copied_nor_spoken_of(path: Path, revisions: Path) -> None:
    open_database(f"sqlite:///{path}", present(revisions)).dispose()
    path.with_name("things.db.schema-1").unlink()
    before = path.read_bytes()
    with structlog.testing.capture_logs() as said:
        open_database(f"sqlite:///{path}", present(revisions)).dispose()
    assert said == []
    assert path.read_bytes() == before
    assert [one.name for one in path.parent.glob("*things.db*")] == ["things.db"]


def test_one_in_memory_needs_no_copy(revisions: Path) -> None:
    open_database("sqlite://", present(revisions)).dispose()


def test_a_revision_that_fails_changes_nothing(path: Path, revisions: Path) -> None:
    last = revisions / "schema_3.py"
    right = last.read_text()
    last.write_text(f'{right}    op.drop_table("nowhere")\n')
    before = contents(path)
    with pytest.raises(TerraError, match="no such table: nowhere"):
        open_database(f"sqlite:///{path}", present(revisions))
    assert unstamped(path) == before
    last.write_text(right)
    open_database(f"sqlite:///{path}", present(revisions)).dispose()
    assert len(rows(path, "select weight from things")) == 4


def test_a_database_of_a_later_terra_is_refused_and_its_copy_named(path: Path, revisions: Path) -> None:
    open_database(f"sqlite:///{path}", present(revisions)).dispose()
    (revisions / "schema_3.py").unlink()
    (revisions / "schema_2.py").unlink()
    before = path.read_bytes()
    with pytest.raises(TerraError) as caught:
        open_database(f"sqlite:///{path}", present(revisions))
    assert caught.value.message.endswith("the database has schema 3; this version of Terra knows schemas up to 1")
    assert caught.value.hint == (
        f"run the version of Terra that made it; or put back {path}.schema-1, its copy of before the migration, "
        "which knows of nothing since"
    )
    assert path.read_bytes() == before


def test_a_schema_that_was_changed_by_hand_is_refused(path: Path, revisions: Path) -> None:
    open_database(f"sqlite:///{path}", present(revisions)).dispose()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("update about set value = '2' where key = 'schema'")
        connection.commit()
    with pytest.raises(TerraError, match="schema 2 in its table about, and 3 in alembic_version"):
        open_database(f"sqlite:///{path}", present(revisions))


def test_what_is_refused_before_it_is_migrated_stays_as_it_is(path: Path, revisions: Path) -> None:
    def refuse(connection: Connection) -> None:
        connection.exec_driver_sql("insert into about values ('identity', 'x')")
        raise TerraError("not this one")

    before = contents(path)
    with pytest.raises(TerraError, match="not this one"):
        open_database(f"sqlite:///{path}", present(revisions), refuse)
    assert contents(path) == before
    assert [one.name for one in path.parent.glob("*things.db*")] == ["things.db"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_database_that_cannot_be_copied_is_not_migrated(
    path: Path, revisions: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(number, "as it may be")

    before = contents(path)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(
        TerraError, match=r"cannot be copied to .*things.db.schema-1 before .* from schema 1 to 3: as it may be"
    ) as caught:
        open_database(f"sqlite:///{path}", present(revisions))
    assert isinstance(caught.value, DatabaseFull) == (number == errno.ENOSPC)
    monkeypatch.undo()
    assert rows(path, "select value from about where key = 'schema'") == [("1",)]
    assert unstamped(path) == before
    assert [one.name for one in path.parent.glob("*things.db*")] == ["things.db"]
