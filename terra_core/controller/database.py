"""The controller's state: tables, and how they are opened."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import JSON, Column, Engine, Integer, MetaData, String, Table

from terra_core.service import database

SCHEMA = 1
"""The version of the tables; a controller opens no database of a later one."""

metadata = MetaData()

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
    Column("document", JSON, nullable=False),
    Column("tables", JSON, nullable=False),
    Column("targets", JSON, nullable=False),
    Column("digest", String, nullable=False),
    Column("kernel_arguments", JSON, nullable=False),
    Column("problem", String, nullable=False),
)


def open_database(url: str) -> Engine:
    """Open the controller's database; see :func:`terra_core.service.database.open_database`."""
    return database.open_database(url, metadata, SCHEMA)


def default_url(state: Path) -> str:
    """The URL of the SQLite file that a controller keeps in its state directory."""
    return f"sqlite:///{(state / 'terra.db').absolute()}"
