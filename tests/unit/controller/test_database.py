"""Opening the database: what is damaged, foreign or of a later Terra is refused, and stays as it is."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import select

from terra_core.controller.database import SCHEMA, about, default_url, open_database
from terra_core.errors import TerraError
from terra_core.service.migration import Migrations


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of the database."""
    return tmp_path / "terra.db"


def tables(path: Path) -> set[str]:
    connection = sqlite3.connect(path)
    try:
        return {name for (name,) in connection.execute("select name from sqlite_master where type = 'table'")}
    finally:
        connection.close()


def execute(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def refused(path: Path) -> TerraError:
    """Open what must not be opened; it has to stay as it is, byte by byte."""
    before = path.read_bytes()
    with pytest.raises(TerraError) as caught:
        open_database(f"sqlite:///{path}")
    assert path.read_bytes() == before
    return caught.value


def test_a_new_one_gets_its_tables_and_opens_again(path: Path) -> None:
    open_database(default_url(path.parent)).dispose()
    assert tables(path) >= {"about", "hosts", "nodes", "target_numbers"}
    engine = open_database(default_url(path.parent))
    with engine.begin() as connection:
        assert connection.execute(select(about.c.value)).scalar_one() == Migrations(SCHEMA.migrations).head
    engine.dispose()


def test_what_is_no_database_is_refused(path: Path) -> None:
    path.write_bytes(b"this is no database, but somebody's letters\n" * 100)
    error = refused(path)
    assert "the database cannot be used: file is not a database" in error.message
    assert "does not replace it" in error.hint


def test_a_damaged_one_is_refused(path: Path) -> None:
    open_database(f"sqlite:///{path}").dispose()
    execute(path, *(f"insert into hosts values ('node-{at}', 1)" for at in range(500)))  # noqa: S608  # no text from outside
    content = bytearray(path.read_bytes())
    content[8192:-4096] = bytes(len(content) - 8192 - 4096)
    path.write_bytes(content)
    assert str(path) in refused(path).message


def test_half_a_one_is_refused(path: Path) -> None:
    open_database(f"sqlite:///{path}").dispose()
    path.write_bytes(path.read_bytes()[:5000])
    assert str(path) in refused(path).message


def test_one_of_a_later_terra_is_refused_and_gets_no_tables(path: Path) -> None:
    execute(path, "create table about (key varchar primary key, value varchar)", "insert into about values ('schema', '99')")
    execute(path, "pragma journal_mode=wal")
    error = refused(path)
    head = Migrations(SCHEMA.migrations).head
    assert error.message.endswith(f"the database has schema 99; this version of Terra knows schemas up to {head}")
    assert error.hint == "run the version of Terra that made it"
    assert tables(path) == {"about"}


@pytest.mark.parametrize("schema", ["", "one", "-1", "1.0"])
def test_one_of_a_schema_that_never_was_is_refused(path: Path, schema: str) -> None:
    open_database(f"sqlite:///{path}").dispose()
    execute(path, f"update about set value = '{schema}'")  # noqa: S608  # no text from outside
    assert f"has schema {schema};" in refused(path).message


def test_that_of_another_program_is_refused(path: Path) -> None:
    execute(path, "pragma journal_mode=wal", "create table songs (title varchar)")
    assert refused(path).message.endswith("the database is not Terra's")
    assert tables(path) == {"songs"}


@pytest.mark.parametrize(
    "url", ["", "terra.db", "sqlite", "oracle://x/y", "postgresql+nosuchdriver://x/y", "sqlite:////no/such/directory/terra.db"]
)
def test_a_url_that_leads_nowhere_is_refused(url: str) -> None:
    with pytest.raises(TerraError) as caught:
        open_database(url)
    assert caught.value.message.startswith(f"{url}: ")


@pytest.mark.parametrize("url", ["sqlite://user:geheim@host/terra.db", "no url://user:geheim@host", "oracle://u:geheim@h/d"])
def test_a_password_is_not_shown(url: str) -> None:
    with pytest.raises(TerraError) as caught:
        open_database(url)
    assert "geheim" not in str(caught.value)
