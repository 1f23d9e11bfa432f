"""Databases of earlier versions of Terra, and how two databases are compared."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, MetaData, create_engine, inspect

from terra_core.service.migration import Migrations

DUMPED_ROOT = "/srv/terra"
"""The root of the daemons whose databases were dumped."""


def restore(dump: Path, database: Path, root: Path | str = DUMPED_ROOT) -> None:
    """Make a SQLite database of a dump.

    :param dump: the SQL text.
    :param root: the root of the daemon that shall take the database.
    """
    database.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(database)) as connection:
        connection.executescript(dump.read_text().replace(DUMPED_ROOT, str(root)))


def contents(database: Path) -> list[str]:
    """Return the SQL text of a SQLite database, by which it could be made again."""
    with closing(sqlite3.connect(database)) as connection:
        return list(connection.iterdump())


def differences(engine: Engine, tables: MetaData, fresh: Engine) -> list[object]:
    """Return how a database differs from its tables and from a database made of them; comments do not count.

    :param engine: the database.
    :param fresh: one that was empty when this version of Terra opened it.
    """
    with engine.connect() as connection, fresh.connect() as other:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        found = [change for change in compare_metadata(context, tables) if "comment" not in str(change[0])]
        mine, its = _shape(connection), _shape(other)
    return [
        *found,
        *(f"{name}: {mine.get(name)} and {its.get(name)}" for name in mine | its if mine.get(name) != its.get(name)),
    ]


def differences_from_alembic(location: str, work: Path) -> list[object]:
    """Return what Terra and Alembic say differently of the revisions at a location, and note differently in a database.

    :param location: as for :class:`terra_core.service.migration.Migrations`.
    :param work: an empty directory.
    """
    config, ours = Config(), Migrations(location)
    for name, value in (("script_location", "terra_core.service:migration"), ("version_locations", location)):
        config.set_main_option(name, value)
    config.set_main_option("path_separator", "newline")
    scripts = ScriptDirectory.from_config(config)
    for name in ("ours", "alembic's"):
        engine = create_engine(f"sqlite:///{work / name}")
        with engine.begin() as connection:
            context = MigrationContext.configure(connection)
            ours.stamp(connection, ours.head) if name == "ours" else context.stamp(scripts, "head")
        with engine.connect() as connection:
            known = ours.stamped(connection), MigrationContext.configure(connection).get_current_revision()
        engine.dispose()
        if known != (ours.head, ours.head):
            return [name, known]
    schemas = [script.revision for script in scripts.walk_revisions()]
    return [
        *([ours.schemas, schemas] if list(ours.schemas) != schemas else []),
        *({*contents(work / "ours")} ^ {*contents(work / "alembic's")}),
    ]


def _shape(connection: Connection) -> dict[str, object]:
    looked = inspect(connection)
    return {
        name: {
            "columns": sorted(str(column) for column in map(_plain, looked.get_columns(name))),
            "primary key": looked.get_pk_constraint(name)["constrained_columns"],
            "unique": sorted(sorted(one["column_names"]) for one in looked.get_unique_constraints(name)),
            "indexes": sorted(str(one) for one in looked.get_indexes(name)),
            "autoincrement": "autoincrement" in _text(connection, name).lower(),
        }
        for name in looked.get_table_names()
    }


def _plain(column: Any) -> dict[str, str]:  # SQLAlchemy's reflected column
    return {key: str(value) for key, value in column.items() if key != "comment"}


def _text(connection: Connection, table: str) -> str:
    if connection.dialect.name != "sqlite":
        return ""
    return str(connection.exec_driver_sql("select sql from sqlite_master where name = ?", (table,)).scalar())
