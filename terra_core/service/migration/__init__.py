"""How a database of an earlier version of Terra gets the tables of this one: Alembic's revisions, run as a library.

A schema is one version of a daemon's tables and has a number, from 1. Each daemon has a package ``migrations`` with an
Alembic revision for every schema: ``schema_N.py``, with ``N`` as its ``revision`` and the number before it as its
``down_revision``. A database names its schema in the table ``about``, which versions of Terra without Alembic read as well,
and in ``alembic_version`` for Alembic.

To add a revision:

1. Change the tables of the daemon, or what it writes into a JSON column.
2. Add the next ``schema_N.py``, whose ``upgrade()`` makes the same change to a database of the schema before::

       \"\"\"Machines have a place, and the sizes of their volumes are in bytes.\"\"\"

       import sqlalchemy as sa
       from alembic import op

       from terra_core.service.migration import rewrite_json

       revision = "3"
       down_revision = "2"


       def upgrade() -> None:
           with op.batch_alter_table("nodes") as nodes:
               nodes.add_column(sa.Column("place", sa.String, nullable=False, server_default=""))
           rewrite_json(op.get_bind(), "nodes", key=("hostname",), column="targets", change=_in_bytes)

3. Run the daemon's unit tests, ``test_*migrations.py``. They bring databases of every earlier schema, made by the code of
   that time, to the present one, compare the tables with those of a new database, and read the records. Where no dump of the
   schema before yours is in ``dumps`` yet, add one (``schema-N.sql``, and its name to ``FORMER``), and let the tests look at
   what your revision changes.

Rules for revisions:

- A revision on the main branch is never changed. It imports no table and no model of Terra, because those change later.
- Tables are altered in batch mode (``op.batch_alter_table``), which copies a table where SQLite cannot alter it. It drops
  the original, so no table may be referred to by a foreign key that cascades. A constraint on a column that is renamed goes
  into a batch of its own, after the renaming: in the same one, Alembic leaves it out without a word.
- All revisions run in one transaction that is not theirs: a revision does not begin, commit or roll back.
- A row that cannot be read stays as it is. The daemon sets it aside afterwards.
- ``about``, and the controller's ``hosts.hostname`` and name, portal, state and seen of ``controllers``, keep their names and
  types: they are read before the first revision runs.
- There is no way down: to return to an earlier version of Terra, put the copy back that was made before the migration.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    ColumnClause,
    Connection,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    and_,
    cast,
    insert,
    inspect,
    select,
    update,
)
from sqlalchemy import column as column_named
from sqlalchemy import table as table_named

_REVISION = re.compile(r"schema_([1-9][0-9]*)\.py")
_STAMP = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""Alembic's own table, as Alembic makes it."""

_UNREADABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError)
"""What a change raises for a value that it does not understand, and the reader of JSON for text that is none."""


class Migrations:
    """The revisions of a daemon's tables. Alembic is imported for an upgrade alone: it is a tenth of a daemon's start.

    :param location: their directory, as Alembic names one: ``package:directory``, or an absolute path.
    """

    def __init__(self, location: str) -> None:
        self._location = location
        package, _, directory = location.partition(":")
        place = Path(location) if location.startswith("/") else files(package) / directory
        numbers = [int(found[1]) for entry in place.iterdir() if (found := _REVISION.fullmatch(entry.name))]
        self.schemas: Sequence[str] = [str(number) for number in sorted(numbers, reverse=True)]
        """The numbers of all schemas, the present one first."""

    @property
    def head(self) -> str:
        """Return the number of the present schema."""
        return self.schemas[0]

    def stamped(self, connection: Connection) -> str | None:
        """Return the schema that is noted for Alembic in a database; ``None`` where there is none."""
        if not inspect(connection).has_table(_STAMP.name):
            return None
        return ", ".join(connection.scalars(select(_STAMP.c.version_num))) or None

    def stamp(self, connection: Connection, schema: str) -> None:
        """Note the schema of a database for Alembic, where none is noted yet."""
        _STAMP.create(connection, checkfirst=True)
        connection.execute(insert(_STAMP).values(version_num=schema))

    def upgrade(self, connection: Connection) -> None:
        """Bring a database to the present schema, in the transaction that the connection is in.

        :raises alembic.util.exc.CommandError: when the revisions do not lead there.
        """
        from alembic.command import upgrade
        from alembic.config import Config

        config = Config()
        # env.py of this package serves every daemon. A newline separates locations: a path may hold any other character.
        options = {
            "script_location": "terra_core.service:migration",
            "version_locations": self._location.replace("%", "%%"),
            "path_separator": "newline",
        }
        for name, value in options.items():
            config.set_main_option(name, value)
        config.attributes["connection"] = connection
        upgrade(config, "head")


def rewrite_json(connection: Connection, table: str, *, key: Sequence[str], column: str, change: Callable[[Any], Any]) -> None:
    """Replace every value of a JSON column; for ``upgrade()`` of a revision.

    :param key: the columns of the primary key.
    :param change: gives the new value for the former one. A row stays as it is where its text is no JSON, and where ``change``
        raises what a value of another form may raise: ValueError, TypeError, KeyError, IndexError, AttributeError.
    """
    keys: list[ColumnClause[Any]] = [column_named(name) for name in key]
    rows = table_named(table, *keys, column_named(column, JSON))
    text = cast(rows.c[column], String).label("text")  # as it stands: one text that is no JSON must not hide the other rows
    for row in connection.execute(select(*keys, text)).all():
        try:
            changed = change(json.loads(row.text))
        except _UNREADABLE:
            continue
        this = and_(*(one == value for one, value in zip(keys, row, strict=False)))
        connection.execute(update(rows).where(this).values({column: changed}))
