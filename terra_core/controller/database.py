"""The controller's state: tables, and how they are opened."""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from attrs import frozen
from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Connection,
    Dialect,
    Engine,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
    insert,
    inspect,
    make_url,
    select,
)
from sqlalchemy.exc import SQLAlchemyError

from terra_core.service import database
from terra_core.service.schema import Check, Schema, about_table

metadata = MetaData()
_LARGE = BigInteger().with_variant(Integer, "sqlite")
"""64 bits: SQLite numbers rows itself by this type alone."""


@frozen
class Unreadable:
    """The value of a column whose text is no JSON.

    :param reason: what is wrong with it.
    """

    reason: str


class KeptJson(TypeDecorator[Any]):
    """A JSON column whose values are read one by one: text that is no JSON becomes :class:`Unreadable`."""

    impl = JSON
    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any]:
        """Return a processor that turns a value which cannot be read into :class:`Unreadable`."""
        return partial(read_json, read=super().result_processor(dialect, coltype) or (lambda value: value))


def read_json(value: Any, read: Callable[[Any], Any] = json.loads) -> Any:  # what the driver gave
    """Return what the value of a JSON column says; :class:`Unreadable` where it is no JSON."""
    try:
        return read(value)
    except (ValueError, TypeError, RecursionError) as error:
        return Unreadable(str(error))


about = about_table(metadata)

hosts = Table(
    "hosts",
    metadata,
    Column("hostname", String, primary_key=True),
    Column("generation", Integer, nullable=False),
    comment="every host name ever provisioned, so that none of its names is given twice",
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
    Column("layout", String, nullable=False, server_default=""),
    Column("since", String, nullable=False, server_default=""),
    Column("upgrade", KeptJson, nullable=False),
    Column("host", String, nullable=False, server_default=""),
    comment="host has the volumes, where hosts have stores of their own (decision 0107); it is empty otherwise",
)

golden_volumes = Table(
    "golden_volumes",
    metadata,
    Column("token", String, primary_key=True),
    Column("layout", String, nullable=False, unique=True),
    Column("image", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("described", String, nullable=False),
    Column("store", String, nullable=False),
    Column("contract", Integer, nullable=False),
    Column("volumes", KeptJson, nullable=False),
    Column("state", String, nullable=False),
    Column("used", Integer, nullable=False),
    Column("pinned", Integer, nullable=False),
    Column("host", String, nullable=False, server_default=""),
    comment="images that are laid down once for a layout of disks, for machines to be clones of",
)

tokens = Table(
    "tokens",
    metadata,
    Column("name", String, primary_key=True),
    Column("role", String, nullable=False),
    Column("digest", String, nullable=False, unique=True),
    Column("created", String, nullable=False),
    Column("last_used", String, nullable=False),
    Column("expires", String, nullable=False),
    Column("revoked", String, nullable=False),
    comment="times are of UTC as RFC 3339 has them, and empty where there is none; names are never given twice",
)

audit = Table(
    "audit",
    metadata,
    Column("number", _LARGE, primary_key=True, autoincrement=True),
    Column("time", String, nullable=False),
    Column("refused", Integer, nullable=False),
    Column("who", String, nullable=False),
    Column("role", String, nullable=False),
    Column("address", String, nullable=False),
    Column("method", String, nullable=False),
    Column("path", String, nullable=False),
    Column("action", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("detail", String, nullable=False),
    Column("result", String, nullable=False),
    sqlite_autoincrement=True,
    comment="changes that clients asked for, and (refused = 1) those that were refused, each kept to a number of its own",
)

happenings = Table(
    "happenings",
    metadata,
    Column("number", _LARGE, primary_key=True, autoincrement=True),
    Column("hostname", String, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("kind", String, nullable=False),
    Column("time", String, nullable=False),
    Column("text", String, nullable=False),
    Column("data", KeptJson, nullable=False),
    Index("happenings_of_machine", "hostname", "generation", "kind", "number"),
    sqlite_autoincrement=True,
    comment="what happened to each machine, kept to a bound; numbers give the order",
)

boots = Table(
    "boots",
    metadata,
    Column("hostname", String, primary_key=True),
    Column("generation", Integer, primary_key=True, autoincrement=False),
    Column("stage", String, nullable=False),
    Column("since", String, nullable=False),
    Column("report", KeptJson, nullable=False),
    comment="how far the boot of each machine came, as far as anything was seen of it",
)

report_tokens = Table(
    "report_tokens",
    metadata,
    Column("digest", String, primary_key=True),
    Column("hostname", String, nullable=False, index=True),
    Column("generation", Integer, nullable=False),
    Column("number", Integer, nullable=False),
    Column("place", String, nullable=False),
    Column("published", Float, nullable=False),
    Column("boots", String, nullable=False),
    comment="tokens of machines for reports of boots; published in seconds since 1970, 0 before it is in the boot files",
)

controllers = Table(
    "controllers",
    metadata,
    Column("name", String, primary_key=True),
    Column("identity", String, nullable=False),
    Column("url", String, nullable=False),
    Column("portal", String, nullable=False),
    Column("store", String, nullable=False),
    Column("version", String, nullable=False),
    Column("state", String, nullable=False),
    Column("started", Float, nullable=False),
    Column("seen", Float, nullable=False),
    Column("reports", String, nullable=False, server_default=""),
    Column("pass_digest", String, nullable=False, server_default=""),
    Column("local_digest", String, nullable=False, server_default=""),
    Column("local_store", Integer, nullable=False, server_default="0"),
    Column("trouble", String, nullable=False, server_default=""),
    comment="the controllers of this database (decision 0096); identity is of a process, times are in seconds since 1970",
)

lead = Table(
    "lead",
    metadata,
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("name", String, nullable=False),
    Column("identity", String, nullable=False),
    Column("seen", Float, nullable=False),
    comment="one row: who leads, since the epoch that every write of theirs asks for (decision 0097)",
)

drained = Table(
    "drained",
    metadata,
    Column("name", String, primary_key=True),
    Column("since", Float, nullable=False),
    comment="the hosts that take no lead until somebody lets them (decision 0100); since in seconds since 1970",
)

work = Table(
    "work",
    metadata,
    Column("number", _LARGE, primary_key=True, autoincrement=True),
    Column("kind", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("version", String, nullable=False),
    Column("data", KeptJson, nullable=False),
    Column("wanted", Integer, nullable=False),
    UniqueConstraint("kind", "subject"),
    sqlite_autoincrement=True,
    comment="work that any host of this version may do (decision 0104); the leader alone writes here; "
    "wanted is 0 once it is over",
)

leases = Table(
    "leases",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("attempt", Integer, primary_key=True, autoincrement=False),
    Column("identity", String, nullable=False),
    Column("name", String, nullable=False),
    Column("until", Float, nullable=False),
    Column("state", String, nullable=False),
    Column("made", KeptJson, nullable=False),
    Column("events", KeptJson, nullable=False),
    Column("outcome", KeptJson, nullable=False),
    comment="who has taken a piece of work, until when if nothing is heard, and what is made for it; each host writes its own",
)

SCHEMA = Schema(metadata, "terra_core.controller:migrations")


def open_database(url: str, check: Check = database.take_any) -> Engine:
    """Open the controller's database; see :func:`terra_core.service.database.open_database`."""
    return database.open_database(url, SCHEMA, check)


def has_column(connection: Connection, column: Column[Any]) -> bool:
    """Return whether a database, of any schema, has a column."""
    found, name = inspect(connection), column.table.name
    return found.has_table(name) and any(one["name"] == column.name for one in found.get_columns(name))


def file_of(url: str) -> Path | None:
    """Return the file of a SQLite database on a disk of this machine; ``None`` for any other database."""
    try:
        parsed = make_url(url)
    except SQLAlchemyError:
        return None
    plain = parsed.get_backend_name() == "sqlite" and parsed.database and not parsed.database.startswith((":", "file:"))
    return Path(str(parsed.database)) if plain else None


def identity_of(connection: Connection) -> tuple[str, bool]:
    """Return the identity of a database of any schema, and whether a machine was ever provisioned with it."""
    identity = connection.scalar(select(about.c.value).where(about.c.key == "identity"))
    if identity is None:
        identity = secrets.token_hex(16)
        connection.execute(insert(about).values(key="identity", value=identity))
    return str(identity), connection.execute(select(hosts.c.hostname).limit(1)).first() is not None


FLOOR = "generation_floor"
"""The key in ``about`` for what no generation of a host name may be given up to; there since a backup was restored."""
_GIVEN_SINCE = 100
"""No host name is provisioned so often between a backup and the loss of the database."""
_HAPPENED_SINCE = 10**9
"""Nor does so much happen to machines: that is a thousand things a second for eleven days."""


def raise_generations(connection: sqlite3.Connection) -> None:
    """Keep a database that was restored from giving names again that were given since it was copied.

    :param connection: to its file, of any schema.
    :raises sqlite3.Error: when it is none of Terra's, or damaged.
    """
    (highest,) = connection.execute("select coalesce(max(generation), 0) from hosts").fetchone()
    (former,) = connection.execute("select value from about where key = ?", (FLOOR,)).fetchone() or (0,)
    if not all(re.fullmatch("[0-9]{1,15}", str(known)) for known in (highest, former)):
        raise sqlite3.DatabaseError("it does not say how often names of machines were given")
    floor = max(int(highest), int(former)) + _GIVEN_SINCE
    with connection:
        connection.execute("insert or replace into about (key, value) values (?, ?)", (FLOOR, str(floor)))


def raise_happenings(connection: sqlite3.Connection) -> None:
    """Let what happens from now on have greater numbers than what happened since a database that was restored was copied.

    Who follows a machine asks for what comes after the last number that they know.

    :param connection: to its file, of any schema.
    """
    if connection.execute("select 1 from sqlite_master where name = 'happenings'").fetchone():
        with connection:
            (given,) = connection.execute("select coalesce(max(number), 0) from happenings").fetchone()
            (former,) = connection.execute("select seq from sqlite_sequence where name = 'happenings'").fetchone() or (0,)
            connection.execute("delete from sqlite_sequence where name = 'happenings'")
            values = ("happenings", max(int(given), int(former)) + _HAPPENED_SINCE)
            connection.execute("insert into sqlite_sequence (name, seq) values (?, ?)", values)


def forget_unfinished(connection: sqlite3.Connection) -> Sequence[str]:
    """Forget machines that were being provisioned or deleted when a database that was restored was copied; return their names.

    The controller would remove their disks at its start. By now these can be those of a machine that was provisioned to its
    end, or of a later one of the same name.

    :param connection: to its file, of any schema.
    """
    unfinished = "from nodes where state in ('provisioning', 'deleting')"
    with connection:
        found = connection.execute(f"select hostname {unfinished} order by hostname").fetchall()
        connection.execute(f"delete {unfinished}")
    return [str(hostname) for (hostname,) in found]


def mark_upgrades(connection: sqlite3.Connection) -> None:
    """Note that what a database that was restored says of upgrades is of a backup: machines may have gone on since.

    The controller finds out by what they run and what is there, and removes nothing before.

    :param connection: to its file, of any schema.
    """
    if "upgrade" in {row[1] for row in connection.execute("pragma table_info(nodes)")}:
        with connection:
            for hostname, text in connection.execute("select hostname, upgrade from nodes").fetchall():
                upgrade = read_json(text)
                if isinstance(upgrade, dict) and upgrade.get("other"):
                    values = (json.dumps({**upgrade, "restored": True}), hostname)
                    connection.execute("update nodes set upgrade = ? where hostname = ?", values)


def forget_controllers(connection: sqlite3.Connection) -> None:
    """Forget which controllers shared a database that was restored: they announce themselves again.

    :param connection: to its file, of any schema.
    """
    for name in ("controllers", "drained", "leases", "work"):
        if connection.execute("select 1 from sqlite_master where name = ?", (name,)).fetchone():
            with connection:
                connection.execute(f"delete from {name}")  # noqa: S608  # one of the names above


def forget_report_tokens(connection: sqlite3.Connection) -> None:
    """Forget what machines report with in a database that was restored: their boot files may have others, which are made anew.

    :param connection: to its file, of any schema.
    """
    if connection.execute("select 1 from sqlite_master where name = 'report_tokens'").fetchone():
        with connection:
            connection.execute("delete from report_tokens")


def default_url(state: Path) -> str:
    """Return the URL of the SQLite file that a controller keeps in its state directory."""
    return f"sqlite:///{(state / 'terra.db').absolute()}"
