"""The controller's state: tables, and how they are opened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import frozen
from sqlalchemy import JSON, Column, Dialect, Engine, Integer, MetaData, String, Table, TypeDecorator

from terra_core.service import database

SCHEMA = 1
"""The version of the tables; a controller opens no database of a later one."""

metadata = MetaData()


@frozen
class Unreadable:
    """Stands in a row for a column whose text is no JSON.

    :param reason: what is wrong with it.
    """

    reason: str


class KeptJson(TypeDecorator[Any]):
    """JSON of which each value is read by itself: one that is none gives :class:`Unreadable`, and the other rows stay whole."""

    impl = JSON
    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        """As SQLAlchemy has it; called for each value that is read."""
        read = super().result_processor(dialect, coltype) or (lambda value: value)

        def lenient(value: Any) -> Any:  # what the driver gave
            try:
                return read(value)
            except (ValueError, TypeError, RecursionError) as error:
                return Unreadable(str(error))

        return lenient


about = database.about_table(metadata)

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
    Column("document", KeptJson, nullable=False),
    Column("tables", KeptJson, nullable=False),
    Column("targets", KeptJson, nullable=False),
    Column("digest", String, nullable=False),
    Column("kernel_arguments", KeptJson, nullable=False),
    Column("problem", String, nullable=False),
)


def open_database(url: str) -> Engine:
    """Open the controller's database; see :func:`terra_core.service.database.open_database`."""
    return database.open_database(url, metadata, SCHEMA)


def default_url(state: Path) -> str:
    """The URL of the SQLite file that a controller keeps in its state directory."""
    return f"sqlite:///{(state / 'terra.db').absolute()}"
