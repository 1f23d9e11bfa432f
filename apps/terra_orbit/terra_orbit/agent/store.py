"""The records in a database: the intent, from which everything else is made again."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from attrs import asdict
from sqlalchemy import Connection, Engine, delete, insert, select, update

from terra_core.errors import ConflictError, NotFoundError
from terra_core.service.database import explained, open_database
from terra_orbit.agent.records import Attachment, Move, Record, Revision, State
from terra_orbit.agent.tables import (
    ABOUT,
    ADDRESSES,
    ATTACHMENTS,
    CONTAINERS,
    REVISIONS,
    SCHEMA,
    attachment_of,
    find,
    is_address,
    is_attachment,
    is_revision,
    record_of,
    revision_of,
)
from terra_orbit.vhost import Vhost

KEPT_REVISIONS = 10
"""How many revisions of a container are kept; the oldest one goes when there is a further one."""


class Store:
    """The records, in a database.

    :param url: as SQLAlchemy has it.
    """

    def __init__(self, url: str) -> None:
        self._engine: Engine = open_database(url, SCHEMA)
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
            holder = connection.scalar(select(CONTAINERS.c.state).where(CONTAINERS.c.id == vhost.id))
            if holder is not None:
                raise ConflictError(
                    f"there is a container {vhost.id} already, which is {holder}",
                    hint=f"choose another id, change that one by ob create --update, or delete it: ob delete {vhost.id}",
                )
            values = {"uid": uid, "id": vhost.id, "state": State.RUNNING.value, "revision": 1, "restarts": 0, "problem": ""}
            connection.execute(insert(CONTAINERS).values(**values, macs=list(macs), created=now))
            connection.execute(insert(REVISIONS).values(uid=uid, number=1, document=dict(document), image=image, created=now))
            return find(connection, CONTAINERS.c.uid == uid)

    def add_revision(self, record: Record, document: Mapping[str, Any], image: str, macs: Sequence[str]) -> Record:
        """Let a further revision count; the oldest one beyond those that are kept is forgotten."""
        number = max(one.number for one in record.revisions) + 1
        with self._transaction() as connection:
            values = {"uid": record.uid, "number": number, "document": dict(document), "image": image}
            connection.execute(insert(REVISIONS).values(**values, created=time.time()))
            changed = {"revision": number, "state": State.RUNNING.value, "problem": "", "macs": list(macs), "move": None}
            connection.execute(update(CONTAINERS).where(CONTAINERS.c.uid == record.uid).values(**changed))
            return find(connection, CONTAINERS.c.uid == record.uid)

    def drop_oldest(self, record: Record) -> Record:
        """Forget the revisions beyond those that are kept."""
        with self._transaction() as connection:
            for old in record.revisions[: max(0, len(record.revisions) - KEPT_REVISIONS)]:
                connection.execute(delete(REVISIONS).where(is_revision(record, old.number)))
            return find(connection, CONTAINERS.c.uid == record.uid)

    def return_to(self, record: Record, number: int, state: State) -> Record:
        """Let an earlier revision count again, and forget those after it."""
        with self._transaction() as connection:
            connection.execute(delete(REVISIONS).where((REVISIONS.c.uid == record.uid) & (REVISIONS.c.number > number)))
            changed = {"revision": number, "state": state.value, "problem": "", "move": None}
            connection.execute(update(CONTAINERS).where(CONTAINERS.c.uid == record.uid).values(**changed))
            return find(connection, CONTAINERS.c.uid == record.uid)

    def change(self, record: Record, **values: object) -> Record:
        """Change ``state``, ``problem`` or ``restarts``; a change of the state is the end of a move."""
        with self._transaction() as connection:
            plain = {name: value.value if isinstance(value, State) else value for name, value in values.items()}
            plain |= {"move": None} if "state" in values else {}
            connection.execute(update(CONTAINERS).where(CONTAINERS.c.uid == record.uid).values(**plain))
            return find(connection, CONTAINERS.c.uid == record.uid)

    def depart(self, record: Record, move: Move, problem: str) -> Record:
        """Note that another agent is asked to take a container over: it may not run here until that is known to have failed."""
        with self._transaction() as connection:
            noted = {**asdict(move), "state": move.state.value}
            changed = {"state": State.STOPPED.value, "problem": problem, "move": noted}
            connection.execute(update(CONTAINERS).where(CONTAINERS.c.uid == record.uid).values(**changed))
            return find(connection, CONTAINERS.c.uid == record.uid)

    def forget(self, record: Record) -> None:
        """Drop a record; its id is free again."""
        with self._transaction() as connection:
            for table in (ATTACHMENTS, ADDRESSES, REVISIONS, CONTAINERS):
                connection.execute(delete(table).where(table.c.uid == record.uid))

    def get(self, name: str) -> Record:
        """Return the record of a container.

        :raises NotFoundError: when there is none of this id.
        """
        with self._transaction() as connection:
            try:
                return find(connection, CONTAINERS.c.id == name)
            except NotFoundError:
                raise NotFoundError(f"no container is named {name!r}", hint="ob list shows all of them") from None

    def fresh(self, record: Record) -> Record:
        """Return the same record as it is now.

        :raises NotFoundError: when it is gone.
        """
        with self._transaction() as connection:
            return find(connection, CONTAINERS.c.uid == record.uid)

    def all(self) -> Sequence[Record]:
        """Return every record, by id."""
        with self._transaction() as connection:
            rows = connection.execute(select(CONTAINERS).order_by(CONTAINERS.c.id)).all()
            revisions: dict[str, list[Revision]] = {row.uid: [] for row in rows}
            for row in connection.execute(select(REVISIONS).order_by(REVISIONS.c.number)):
                revisions[row.uid].append(revision_of(row))
        return [record_of(row, revisions[row.uid]) for row in rows]

    def attachments(self, record: Record) -> Sequence[Attachment]:
        """Return the connections of a container."""
        return self.all_attachments(record).get(record.uid, [])

    def all_attachments(self, record: Record | None = None) -> Mapping[str, list[Attachment]]:
        """Return the connections of every container, or of one, by uid."""
        query = select(ATTACHMENTS).order_by(ATTACHMENTS.c.interface)
        if record is not None:
            query = query.where(ATTACHMENTS.c.uid == record.uid)
        found: dict[str, list[Attachment]] = {}
        with self._transaction() as connection:
            for row in connection.execute(query):
                found.setdefault(row.uid, []).append(attachment_of(row))
        return found

    def put_attachment(self, record: Record, attachment: Attachment) -> None:
        """Note a connection, in place of what was noted of it before."""
        values = {"revision": attachment.revision, "conf": dict(attachment.conf), "pid": attachment.pid}
        values |= {"started": attachment.started, "addresses": list(attachment.addresses), "mac": attachment.mac}
        values["keeper"] = attachment.keeper
        keys = {"uid": record.uid, "interface": attachment.interface}
        with self._transaction() as connection:
            connection.execute(delete(ATTACHMENTS).where(is_attachment(record, attachment.interface)))
            connection.execute(insert(ATTACHMENTS).values(**keys, **values))
            if attachment.addresses:
                connection.execute(delete(ADDRESSES).where(is_address(record, attachment.interface)))
                connection.execute(insert(ADDRESSES).values(**keys, addresses=list(attachment.addresses)))

    def drop_attachment(self, record: Record, attachment: Attachment) -> None:
        """Forget a connection that is not there any more; its addresses are remembered."""
        with self._transaction() as connection:
            connection.execute(delete(ATTACHMENTS).where(is_attachment(record, attachment.interface)))

    def former_addresses(self, record: Record, interface: str) -> tuple[str, ...]:
        """Return the addresses that a connection had last."""
        with self._transaction() as connection:
            found = connection.scalar(select(ADDRESSES.c.addresses).where(is_address(record, interface)))
        return tuple(found or ())

    def _identity(self) -> str:
        """Return the name by which this agent's objects are told from others in a shared engine."""
        with self._transaction() as connection:
            known = connection.scalar(select(ABOUT.c.value).where(ABOUT.c.key == "agent"))
            if known is None:
                known = secrets.token_hex(4)
                connection.execute(insert(ABOUT).values(key="agent", value=known))
        return str(known)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with explained(self._engine), self._engine.begin() as connection:
            yield connection
