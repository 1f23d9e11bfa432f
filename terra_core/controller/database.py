"""The controller's state: tables, and how they are opened."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import JSON, Column, Connection, Engine, Integer, MetaData, String, Table, create_engine, event, inspect, select
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from terra_core.errors import TerraError

SCHEMA = 1
"""The version of the tables; a controller opens no database of a later one."""

_BUSY_MS = 10_000
metadata = MetaData()

about = Table("about", metadata, Column("key", String, primary_key=True), Column("value", String, nullable=False))

hosts = Table(
    "hosts",
    metadata,
    Column("hostname", String, primary_key=True),
    Column("generation", Integer, nullable=False),
    comment="every host name ever provisioned, so that no IQN is used twice",
)

target_numbers = Table(
    "target_numbers",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("hostname", String, nullable=False),
    Column("label", String, nullable=False),
    sqlite_autoincrement=True,
    comment="target numbers, never given twice: rows stay when their node is gone",
)

nodes = Table(
    "nodes",
    metadata,
    Column("hostname", String, primary_key=True),
    Column("mac", String, nullable=False, unique=True),
    Column("state", String, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("document", JSON, nullable=False),
    Column("tables", JSON, nullable=False),
    Column("targets", JSON, nullable=False),
    Column("digest", String, nullable=False),
    Column("kernel_arguments", JSON, nullable=False),
    Column("problem", String, nullable=False),
)


def open_database(url: str) -> Engine:
    """Open the database, and make its tables in an empty one.

    :param url: as SQLAlchemy has it, such as ``sqlite:////var/lib/terra/terra.db``.
    :raises TerraError: when it can't be opened, is corrupt, or belongs to a later version of Terra; nothing is replaced.
    """
    name = re.sub(r"://[^/@]*@", "://***@", url)  # a URL that cannot be parsed may hold a password, too
    try:
        engine = create_engine(url)
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
        with explained(engine), engine.begin() as connection:
            if engine.dialect.name == "sqlite":
                _check_sqlite(str(connection.exec_driver_sql("pragma quick_check").scalar()), name)
            _check_schema(connection, name)
    except (SQLAlchemyError, ModuleNotFoundError, ValueError) as error:
        raise TerraError(f"{name}: is no database that Terra can open: {error}") from error
    return engine


@contextmanager
def explained(engine: Engine) -> Iterator[None]:
    """Let what the database refuses, such as writing to a full disk, be said as an error that a user can act upon.

    :param engine: the database that is worked with.
    """
    try:
        yield
    except DBAPIError as error:
        raise TerraError(
            f"{engine.url.render_as_string()}: the database cannot be used: {error.orig}",
            hint="mend it, or put a good copy in its place; Terra does not replace it by an empty one",
        ) from error


def default_url(state: Path) -> str:
    """The URL of the SQLite file that a controller keeps in its state directory."""
    return f"sqlite:///{(state / 'terra.db').absolute()}"


def _prepare_sqlite(connection: Any, _: ConnectionPoolEntry) -> None:  # the driver's own class
    connection.isolation_level = None  # transactions are begun by _begin_sqlite
    cursor = connection.cursor()
    for statement in ("journal_mode=wal", f"busy_timeout={_BUSY_MS}", "foreign_keys=on", "synchronous=full"):
        cursor.execute(f"pragma {statement}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """The driver would begin at the first write, when what was read before it, such as that a name is free, may be past."""
    connection.exec_driver_sql("begin immediate")


def _check_sqlite(answer: str, name: str) -> None:
    if answer != "ok":
        raise TerraError(f"{name}: the database is damaged: {answer}", hint="put a good copy in its place")


def _check_schema(connection: Connection, name: str) -> None:
    present = inspect(connection).get_table_names()
    if not present:
        metadata.create_all(connection)
        connection.execute(about.insert().values(key="schema", value=str(SCHEMA)))
        return
    found = connection.scalar(select(about.c.value).where(about.c.key == "schema")) if about.name in present else None
    if found is None:
        raise TerraError(f"{name}: the database is not Terra's", hint="give Terra a database of its own")
    if found != str(SCHEMA):
        raise TerraError(
            f"{name}: the database has schema {found}, this version of Terra knows {SCHEMA}",
            hint="run the version of Terra that made it",
        )
