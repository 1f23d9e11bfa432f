"""The state of a controller as a SQLite database, wherever it is kept: for backups, and to bring it to a database server."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Never

from sqlalchemy import JSON, Column, Connection, Engine, Table, Text, cast, create_engine, func, insert, inspect, select, text

from terra_core.controller.database import SCHEMA, about, metadata, open_database
from terra_core.errors import TerraError
from terra_core.service.database import explained, open_engine, shown_url
from terra_core.service.database_server import POSTGRESQL, require_fit
from terra_core.service.migration import Migrations
from terra_core.system.undo import Undo

_AT_ONCE = 1000


def copy_of_server(url: str) -> tuple[bytes, str]:
    """Return the state in a database server as a SQLite database, all of it of one moment, and its schema.

    :raises TerraError: when it cannot be read, is none of Terra's, or of another version of Terra.
    """
    head, engine = Migrations(SCHEMA.migrations).head, open_engine(url)
    with Undo() as undo:
        undo.callback(engine.dispose)
        with closing(sqlite3.connect(":memory:")) as copy:
            made = create_engine("sqlite://", creator=lambda: copy)
            of_one_moment = engine.execution_options(isolation_level="REPEATABLE READ")
            with explained(engine), of_one_moment.connect() as source, made.begin() as destination:
                there = about.name in inspect(source).get_table_names()
                schema = source.scalar(select(about.c.value).where(about.c.key == "schema")) if there else None
                if schema != head:
                    said = f"has schema {schema}" if schema else "is none of Terra's"
                    hint = "back it up with the version of Terra that its controller has"
                    raise TerraError(f"{shown_url(url)}: the database {said}; this version of Terra has {head}", hint=hint)
                metadata.create_all(destination)
                _copy(source, destination)
            return copy.serialize(), head


def bring_to_server(file: Path, url: str) -> None:
    """Bring the state in a SQLite file to an empty database of a server, all of it or nothing.

    :param file: of this or an earlier schema; it is migrated.
    :raises TerraError: when the database holds anything, or cannot be written.
    """
    engine = open_engine(url)
    with Undo() as undo:
        undo.callback(engine.dispose)
        with explained(engine), engine.begin() as destination:
            if inspect(destination).get_table_names():
                hint = "give it an empty one, named in controller.toml: createdb --encoding=UTF8 --template=template0 NAME"
                raise TerraError(f"{shown_url(url)}: the database is not empty, and nothing is replaced", hint=hint)
            require_fit(destination, shown_url(url))
            _fill(destination, file)


def _fill(destination: Connection, file: Path) -> None:
    migrations = Migrations(SCHEMA.migrations)
    present: Engine = open_database(f"sqlite:///{file.absolute()}")
    with Undo() as undo:
        undo.callback(present.dispose)
        with explained(present), present.connect() as source:
            metadata.create_all(destination)
            _copy(source, destination)
            migrations.stamp(destination, migrations.head)
            if destination.dialect.name == POSTGRESQL:
                for column in filter(_is_numbered, (column for table in metadata.sorted_tables for column in table.c)):
                    _go_on_after(column, source, destination)


def _copy(source: Connection, destination: Connection) -> None:
    for table in metadata.sorted_tables:
        columns = [cast(one, Text).label(one.name) if _is_json(one) else one for one in table.c]
        rows = [_plain(row._mapping, table) for row in source.execute(select(*columns))]
        for at in range(0, len(rows), _AT_ONCE):
            destination.execute(insert(table), rows[at : at + _AT_ONCE])


def _is_json(column: Column[Any]) -> bool:
    return isinstance(getattr(column.type, "impl", None), JSON)


def _plain(row: Mapping[Any, Any], table: Table) -> Mapping[str, Any]:
    """Return a row as any database takes it: JSON that is none, and NUL, become text that says the same."""
    return {column.name: _json(row[column.name]) if _is_json(column) else _text(row[column.name]) for column in table.c}


def _json(value: Any) -> Any:  # text, as the column was cast to it
    try:
        return json.loads(value, parse_constant=_refuse)
    except (ValueError, TypeError, RecursionError):
        return _text(str(value))


def _refuse(constant: str) -> Never:
    raise ValueError(f"{constant} is no JSON")


def _text(value: Any) -> Any:  # of any type that a database has
    return value.replace("\0", r"\x00") if isinstance(value, str) else value


def _is_numbered(column: Column[Any]) -> bool:
    return column.primary_key and column.autoincrement is True


def _go_on_after(column: Column[Any], source: Connection, destination: Connection) -> None:
    """Let a server give numbers above all that the SQLite file gave, those of rows that are gone among them."""
    table = column.table.name
    given = source.scalar(text("select seq from sqlite_sequence where name = :name"), {"name": table})
    if given:
        sequence = func.pg_get_serial_sequence(table, column.name)
        destination.execute(select(func.setval(sequence, int(given), True)))
