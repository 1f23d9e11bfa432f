"""The schema of a daemon's database, and how an empty one or one of an earlier version of Terra gets it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from attrs import frozen
from sqlalchemy import Column, Connection, MetaData, String, Table, inspect, select, update

from terra_core.errors import TerraError
from terra_core.service.database_server import exclude_others
from terra_core.service.migration import Migrations
from terra_core.service.room import DatabaseFull, is_full
from terra_core.system.files import write_file

Check = Callable[[Connection], None]

_LOCK = int.from_bytes(b"terra")
"""The advisory lock of PostgreSQL that a daemon holds while it looks at the schema: of two that start at once, one migrates."""


def about_table(metadata: MetaData) -> Table:
    """Return the table ``about`` of every database of Terra's: keys and values, one of them ``schema``."""
    return Table("about", metadata, Column("key", String, primary_key=True), Column("value", String, nullable=False))


@frozen
class Schema:
    """The tables of a daemon, and the migrations of databases of earlier versions of Terra.

    :param tables: all of them, that of :func:`about_table` among them.
    :param migrations: the directory of its revisions; see :class:`terra_core.service.migration.Migrations`.
    """

    tables: MetaData
    migrations: str


@frozen
class Migrated:
    """A migration that was made.

    :param former: the schema before.
    :param present: the schema now.
    :param copy: the database as it was before, for a SQLite file.
    """

    former: str
    present: str
    copy: Path | None


def accept(connection: Connection, name: str, schema: Schema, check: Check) -> None:
    """Make the tables of an empty database, and refuse one that is not Terra's, of a later schema, or not what ``check`` takes.

    :param name: what the database is called, for errors.
    """
    exclude_others(connection, _LOCK)
    about, migrations = schema.tables.tables["about"], Migrations(schema.migrations)
    if not inspect(connection).get_table_names():
        schema.tables.create_all(connection)
        connection.execute(about.insert().values(key="schema", value=migrations.head))
    found = _find(connection, name, about, migrations)
    check(connection)
    if migrations.stamped(connection) is None:  # it is new, or was made by a version of Terra without Alembic
        migrations.stamp(connection, found)


def migrate(connection: Connection, name: str, schema: Schema) -> Migrated | None:
    """Bring a database that was accepted to the present schema, and copy a SQLite file before.

    :returns: what was done; ``None`` where the schema was the present one.
    """
    exclude_others(connection, _LOCK)
    about, migrations = schema.tables.tables["about"], Migrations(schema.migrations)
    found, head = _find(connection, name, about, migrations), migrations.head
    if found == head:
        return None
    copy = _keep_copy(connection, found, head)
    migrations.upgrade(connection)
    connection.execute(update(about).where(about.c.key == "schema").values(value=head))
    return Migrated(found, head, copy)


def _find(connection: Connection, name: str, about: Table, migrations: Migrations) -> str:
    """Return the schema of a database; one that this version of Terra does not know is refused."""
    there = about.name in inspect(connection).get_table_names()
    found = connection.scalar(select(about.c.value).where(about.c.key == "schema")) if there else None
    if found is None:
        raise TerraError(f"{name}: the database is not Terra's", hint="give Terra a database of its own")
    schemas, stamped = migrations.schemas, migrations.stamped(connection)
    if found in schemas and stamped in (None, found):
        return str(found)
    named = (
        f"schema {found}" if found not in schemas else f"schema {found} in its table about, and {stamped} in alembic_version"
    )
    file = _file(connection)
    copies = [] if file is None else [copy for one in schemas if (copy := _copy_of(file, one)).exists()]
    other = f"; or put back {copies[0]}, its copy of before the migration, which knows of nothing since" if copies else ""
    raise TerraError(
        f"{name}: the database has {named}; this version of Terra knows schemas up to {migrations.head}",
        hint=f"run the version of Terra that made it{other}",
    )


def _keep_copy(connection: Connection, found: str, head: str) -> Path | None:
    file = _file(connection)
    if file is None:
        return None
    copy = _copy_of(file, found)
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as original:
            write_file(copy, original.serialize(), mode=0o600)  # as it was last committed
    except (OSError, sqlite3.Error) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        said = f"{file}: the database cannot be copied to {copy} before it is migrated from schema {found} to {head}: {reason}"
        if is_full(error):
            raise DatabaseFull(said, hint="make room on its disk; the database is as it was") from error
        raise TerraError(said, hint="let Terra write beside its database, which is as it was") from error
    return copy


def _copy_of(file: Path, schema: str) -> Path:
    return file.with_name(f"{file.name}.schema-{schema}")


def _file(connection: Connection) -> Path | None:
    """Return the file of a SQLite database; ``None`` for one in memory, and for a server's."""
    if connection.dialect.name != "sqlite":
        return None
    (place,) = [str(row.file) for row in connection.exec_driver_sql("pragma database_list") if row.name == "main"]
    return Path(place) if place else None
