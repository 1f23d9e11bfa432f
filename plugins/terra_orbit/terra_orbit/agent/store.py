"""What the agent knows of its containers: the intent, from which everything else is made again."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from functools import lru_cache
from typing import Any

from attrs import frozen
from sqlalchemy import (
    JSON,
    Column,
    Connection,
    Engine,
    Float,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    delete,
    insert,
    select,
    update,
)

from terra_core.config.loader import make_document
from terra_core.errors import ConflictError, NotFoundError
from terra_core.service.database import about_table, explained, open_database
from terra_orbit.vhost import Vhost

SCHEMA = 1
KEPT_REVISIONS = 10
"""How many revisions of a container are kept; the oldest one goes when there is a further one."""

_metadata = MetaData()
_about = about_table(_metadata)
_containers = Table(
    "containers",
    _metadata,
    Column("uid", String, primary_key=True),
    Column("id", String, nullable=False, unique=True),
    Column("state", String, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("restarts", Integer, nullable=False),
    Column("problem", String, nullable=False),
    Column("macs", JSON, nullable=False),
    Column("created", Float, nullable=False),
)
_revisions = Table(
    "revisions",
    _metadata,
    Column("uid", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("document", JSON, nullable=False),
    Column("image", String, nullable=False),
    Column("created", Float, nullable=False),
)
_attachments = Table(
    "attachments",
    _metadata,
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
_addresses = Table(
    "addresses",
    _metadata,
    Column("uid", String, primary_key=True),
    Column("interface", String, primary_key=True),
    Column("addresses", JSON, nullable=False),
    comment="what each connection had last, to be asked for again",
)


class State(Enum):
    """What a container is meant to be."""

    RUNNING = "running"
    STOPPED = "stopped"
    DELETING = "deleting"


@frozen(kw_only=True)
class Revision:
    """One configuration of a container, with the image it was made of.

    :param number: counts from 1.
    :param document: its vhost.toml, as parsed.
    :param vhost: the same, structured.
    :param image: the engine's id of its image.
    :param created: when, in seconds since the epoch.
    """

    number: int
    document: Mapping[str, Any]
    vhost: Vhost
    image: str
    created: float


@frozen(kw_only=True)
class Record:
    """A container that the agent knows.

    :param uid: names it for good: another one of the same id has another.
    :param id: the name that its user gave it.
    :param state: what it is meant to be.
    :param revisions: those that are kept, in order.
    :param revision: the number of the one that counts.
    :param restarts: how often it was brought back.
    :param problem: what is wrong with it right now, if something is.
    :param macs: the hardware addresses of its connections.
    :param created: when, in seconds since the epoch.
    """

    uid: str
    id: str
    state: State
    revisions: tuple[Revision, ...]
    revision: int
    restarts: int
    problem: str
    macs: tuple[str, ...]
    created: float

    @property
    def current(self) -> Revision:
        """The revision that counts."""
        return next(one for one in self.revisions if one.number == self.revision)

    @property
    def former(self) -> Revision | None:
        """The one before it."""
        earlier = [one for one in self.revisions if one.number < self.revision]
        return earlier[-1] if earlier else None


@frozen(kw_only=True)
class Attachment:
    """A connection that is there, or may be.

    :param interface: its name in the container.
    :param revision: the revision whose container it belongs to.
    :param conf: what the plugin was given.
    :param pid: the container's first process.
    :param started: when that started, in clock ticks since boot; with ``pid``, it names the process for good.
    :param addresses: what it got, with prefix lengths; empty until the plugin was done.
    :param mac: its hardware address.
    :param keeper: the DHCP daemon that keeps its lease, if one does.
    """

    interface: str
    revision: int
    conf: Mapping[str, Any]
    pid: int
    started: str
    addresses: tuple[str, ...] = ()
    mac: str = ""
    keeper: str = ""


class Store:
    """The records, in a database.

    :param url: as SQLAlchemy has it.
    """

    def __init__(self, url: str) -> None:
        self._engine: Engine = open_database(url, _metadata, SCHEMA)
        self.agent = self._identity()

    def close(self) -> None:
        """Close the database; nothing is asked of it any more."""
        self._engine.dispose()

    def create(self, document: Mapping[str, Any], vhost: Vhost, image: str, macs: Sequence[str]) -> Record:
        """Take the id for a container that is about to be made.

        :raises ConflictError: when there is one of this id.
        """
        uid, now = f"ob{secrets.token_hex(8)}", time.time()
        with self._transaction() as connection:
            holder = connection.scalar(select(_containers.c.state).where(_containers.c.id == vhost.id))
            if holder is not None:
                raise ConflictError(
                    f"there is a container {vhost.id} already, which is {holder}",
                    hint=f"choose another id, change that one by ob create --update, or delete it: ob delete {vhost.id}",
                )
            values = {"uid": uid, "id": vhost.id, "state": State.RUNNING.value, "revision": 1, "restarts": 0, "problem": ""}
            connection.execute(insert(_containers).values(**values, macs=list(macs), created=now))
            connection.execute(insert(_revisions).values(uid=uid, number=1, document=dict(document), image=image, created=now))
            return _find(connection, _containers.c.uid == uid)

    def add_revision(self, record: Record, document: Mapping[str, Any], image: str, macs: Sequence[str]) -> Record:
        """Let a further revision count; the oldest one beyond those that are kept is forgotten."""
        number = max(one.number for one in record.revisions) + 1
        with self._transaction() as connection:
            values = {"uid": record.uid, "number": number, "document": dict(document), "image": image}
            connection.execute(insert(_revisions).values(**values, created=time.time()))
            changed = {"revision": number, "state": State.RUNNING.value, "problem": "", "macs": list(macs)}
            connection.execute(update(_containers).where(_containers.c.uid == record.uid).values(**changed))
            return _find(connection, _containers.c.uid == record.uid)

    def drop_oldest(self, record: Record) -> Record:
        """Forget the revisions beyond those that are kept."""
        with self._transaction() as connection:
            for old in record.revisions[: max(0, len(record.revisions) - KEPT_REVISIONS)]:
                connection.execute(delete(_revisions).where(_is_revision(record, old.number)))
            return _find(connection, _containers.c.uid == record.uid)

    def return_to(self, record: Record, number: int, state: State) -> Record:
        """Let an earlier revision count again, and forget those after it."""
        with self._transaction() as connection:
            connection.execute(delete(_revisions).where((_revisions.c.uid == record.uid) & (_revisions.c.number > number)))
            changed = {"revision": number, "state": state.value, "problem": ""}
            connection.execute(update(_containers).where(_containers.c.uid == record.uid).values(**changed))
            return _find(connection, _containers.c.uid == record.uid)

    def change(self, record: Record, **values: object) -> Record:
        """Change ``state``, ``problem`` or ``restarts``."""
        with self._transaction() as connection:
            plain = {name: value.value if isinstance(value, State) else value for name, value in values.items()}
            connection.execute(update(_containers).where(_containers.c.uid == record.uid).values(**plain))
            return _find(connection, _containers.c.uid == record.uid)

    def forget(self, record: Record) -> None:
        """Drop a record; its id is free again."""
        with self._transaction() as connection:
            for table in (_attachments, _addresses, _revisions, _containers):
                connection.execute(delete(table).where(table.c.uid == record.uid))

    def get(self, name: str) -> Record:
        """The record of a container.

        :raises NotFoundError: when there is none of this id.
        """
        with self._transaction() as connection:
            try:
                return _find(connection, _containers.c.id == name)
            except NotFoundError:
                raise NotFoundError(f"no container is named {name!r}", hint="ob list shows all of them") from None

    def fresh(self, record: Record) -> Record:
        """The same record as it is by now.

        :raises NotFoundError: when it is gone.
        """
        with self._transaction() as connection:
            return _find(connection, _containers.c.uid == record.uid)

    def all(self) -> Sequence[Record]:
        """Every record, by id."""
        with self._transaction() as connection:
            rows = connection.execute(select(_containers).order_by(_containers.c.id)).all()
            revisions: dict[str, list[Revision]] = {row.uid: [] for row in rows}
            for row in connection.execute(select(_revisions).order_by(_revisions.c.number)):
                revisions[row.uid].append(_revision_of(row))
        return [_record_of(row, revisions[row.uid]) for row in rows]

    def attachments(self, record: Record) -> Sequence[Attachment]:
        """The connections of a container."""
        return self.all_attachments(record).get(record.uid, [])

    def all_attachments(self, record: Record | None = None) -> Mapping[str, list[Attachment]]:
        """The connections of every container, or of one, by uid."""
        query = select(_attachments).order_by(_attachments.c.interface)
        if record is not None:
            query = query.where(_attachments.c.uid == record.uid)
        found: dict[str, list[Attachment]] = {}
        with self._transaction() as connection:
            for row in connection.execute(query):
                found.setdefault(row.uid, []).append(_attachment_of(row))
        return found

    def put_attachment(self, record: Record, attachment: Attachment) -> None:
        """Note a connection, in place of what was noted of it before."""
        values = {"revision": attachment.revision, "conf": dict(attachment.conf), "pid": attachment.pid}
        values |= {"started": attachment.started, "addresses": list(attachment.addresses), "mac": attachment.mac}
        values["keeper"] = attachment.keeper
        keys = {"uid": record.uid, "interface": attachment.interface}
        with self._transaction() as connection:
            connection.execute(delete(_attachments).where(_is_attachment(record, attachment.interface)))
            connection.execute(insert(_attachments).values(**keys, **values))
            if attachment.addresses:
                connection.execute(delete(_addresses).where(_is_address(record, attachment.interface)))
                connection.execute(insert(_addresses).values(**keys, addresses=list(attachment.addresses)))

    def drop_attachment(self, record: Record, attachment: Attachment) -> None:
        """Forget a connection that is not there any more; its addresses are remembered."""
        with self._transaction() as connection:
            connection.execute(delete(_attachments).where(_is_attachment(record, attachment.interface)))

    def former_addresses(self, record: Record, interface: str) -> tuple[str, ...]:
        """What a connection had last."""
        with self._transaction() as connection:
            found = connection.scalar(select(_addresses.c.addresses).where(_is_address(record, interface)))
        return tuple(found or ())

    def _identity(self) -> str:
        """Names this agent to an engine that serves others, too."""
        with self._transaction() as connection:
            known = connection.scalar(select(_about.c.value).where(_about.c.key == "agent"))
            if known is None:
                known = secrets.token_hex(4)
                connection.execute(insert(_about).values(key="agent", value=known))
        return str(known)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with explained(self._engine), self._engine.begin() as connection:
            yield connection


def _is_attachment(record: Record, interface: str) -> Any:  # SQLAlchemy's expressions of several kinds
    return (_attachments.c.uid == record.uid) & (_attachments.c.interface == interface)


def _is_address(record: Record, interface: str) -> Any:  # see _is_attachment
    return (_addresses.c.uid == record.uid) & (_addresses.c.interface == interface)


def _is_revision(record: Record, number: int) -> Any:  # see _is_attachment
    return (_revisions.c.uid == record.uid) & (_revisions.c.number == number)


def _find(connection: Connection, which: Any) -> Record:  # see _is_attachment
    row = connection.execute(select(_containers).where(which)).one_or_none()
    if row is None:
        raise NotFoundError("the container is gone")
    revisions = connection.execute(select(_revisions).where(_revisions.c.uid == row.uid).order_by(_revisions.c.number))
    return _record_of(row, [_revision_of(one) for one in revisions])


def _record_of(row: Row[Any], revisions: Sequence[Revision]) -> Record:
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
    )


def _revision_of(row: Row[Any]) -> Revision:
    vhost = _structured(json.dumps(row.document))
    return Revision(number=row.number, document=row.document, vhost=vhost, image=row.image, created=row.created)


@lru_cache(maxsize=4096)
def _structured(document: str) -> Vhost:
    """Frozen, and asked for several times a second: one for all that ask."""
    return make_document(json.loads(document), Vhost, source="database").value


def _attachment_of(row: Row[Any]) -> Attachment:
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
