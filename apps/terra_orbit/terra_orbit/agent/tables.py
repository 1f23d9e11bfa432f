"""The tables of the agent's database, and what their rows mean."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import JSON, Column, Connection, Float, Integer, MetaData, Row, String, Table, select

from terra_core.config.loader import make_document
from terra_core.errors import NotFoundError
from terra_core.service.schema import Schema, about_table
from terra_orbit.agent.records import Attachment, Move, Record, Revision, State
from terra_orbit.vhost import Vhost

METADATA = MetaData()
ABOUT = about_table(METADATA)
CONTAINERS = Table(
    "containers",
    METADATA,
    Column("uid", String, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("state", String, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("restarts", Integer, nullable=False),
    Column("problem", String, nullable=False),
    Column("macs", JSON, nullable=False),
    Column("created", Float, nullable=False),
    Column("move", JSON(none_as_null=True)),
)
REVISIONS = Table(
    "revisions",
    METADATA,
    Column("uid", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("document", JSON, nullable=False),
    Column("image", String, nullable=False),
    Column("created", Float, nullable=False),
)
ATTACHMENTS = Table(
    "attachments",
    METADATA,
    Column("uid", String, primary_key=True),
    Column("interface", String, primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("conf", JSON, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("started", String, nullable=False),
    Column("addresses", JSON, nullable=False),
    Column("mac", String, nullable=False),
    Column("keeper", String, nullable=False),
    comment="written before a plugin is called, so that no connection is forgotten",
)
ADDRESSES = Table(
    "addresses",
    METADATA,
    Column("uid", String, primary_key=True),
    Column("interface", String, primary_key=True),
    Column("addresses", JSON, nullable=False),
    comment="what each connection had last, to be asked for again",
)
SCHEMA = Schema(METADATA, "terra_orbit.agent:migrations")


def is_attachment(record: Record, interface: str) -> Any:  # SQLAlchemy's expressions of several kinds
    """Return the condition for the row of a connection."""
    return (ATTACHMENTS.c.uid == record.uid) & (ATTACHMENTS.c.interface == interface)


def is_address(record: Record, interface: str) -> Any:  # see is_attachment
    """Return the condition for the row with the last addresses of a connection."""
    return (ADDRESSES.c.uid == record.uid) & (ADDRESSES.c.interface == interface)


def is_revision(record: Record, number: int) -> Any:  # see is_attachment
    """Return the condition for the row of a revision."""
    return (REVISIONS.c.uid == record.uid) & (REVISIONS.c.number == number)


def find(connection: Connection, which: Any) -> Record:  # see is_attachment
    """Return the one record of a condition, with its revisions.

    :raises NotFoundError: when it is gone.
    """
    row = connection.execute(select(CONTAINERS).where(which)).one_or_none()
    if row is None:
        raise NotFoundError("the container is gone")
    revisions = connection.execute(select(REVISIONS).where(REVISIONS.c.uid == row.uid).order_by(REVISIONS.c.number))
    return record_of(row, [revision_of(one) for one in revisions])


def record_of(row: Row[Any], revisions: Sequence[Revision]) -> Record:
    """Return a record from its row and its revisions."""
    return Record(
        uid=row.uid,
        id=row.id,
        state=State(row.state),
        revisions=tuple(revisions),
        revision=row.revision,
        restarts=row.restarts,
        problem=row.problem,
        macs=tuple(row.macs),
        created=row.created,
        move=Move(**{**row.move, "state": State(row.move["state"])}) if row.move else None,
    )


def revision_of(row: Row[Any]) -> Revision:
    """Return a revision from its row."""
    vhost = _structured(json.dumps(row.document))
    return Revision(number=row.number, document=row.document, vhost=vhost, image=row.image, created=row.created)


@lru_cache(maxsize=4096)
def _structured(document: str) -> Vhost:
    """Frozen, and asked for several times a second: one for all that ask."""
    return make_document(json.loads(document), Vhost, source="database").value


def attachment_of(row: Row[Any]) -> Attachment:
    """Return a connection from its row."""
    return Attachment(
        interface=row.interface,
        revision=row.revision,
        conf=row.conf,
        pid=row.pid,
        started=row.started,
        addresses=tuple(row.addresses),
        mac=row.mac,
        keeper=row.keeper,
    )
