"""The audit log of a controller: the changes that clients asked for, in its database and in its log, kept to a bound."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
from attrs import define
from sqlalchemy import Connection, Engine, delete, insert, or_, select, update

from terra_core.controller.database import audit
from terra_core.service.audit import Change
from terra_core.service.database import explained
from terra_core.system.text import one_line

_log = structlog.get_logger(__name__)
_MOST_CHANGES = 10_000
_MOST_REFUSALS = 1_000
_MOST_KEYS = 64
_LONGEST = 200


@define
class _Count:
    """Requests that were refused for one reason.

    :param number: how many.
    :param address: where the last one came from.
    :param asked: what the last one asked for.
    """

    number: int = 0
    address: str = ""
    asked: str = ""


class AuditLog:
    """Keeps what clients changed, and how often they were refused, in two bounds of their own.

    :param engine: the database.
    :param most: how many changes are kept.
    :param refusals: how many rows of refusals.
    """

    def __init__(self, engine: Engine, *, most: int = _MOST_CHANGES, refusals: int = _MOST_REFUSALS) -> None:
        self._engine = engine
        self._bounds = {0: most, 1: refusals}
        self._lock = threading.Lock()
        self._refused: dict[tuple[int, str], _Count] = {}

    def write(self, change: Change) -> None:
        """Write a change down, or what has become of one that was written before.

        :raises TerraError: when it cannot be written.
        """
        values = {
            name: one_line(str(getattr(change, name)))[:_LONGEST]
            for name in ("who", "role", "address", "method", "path", "action", "subject", "detail", "result")
        }
        with explained(self._engine), self._engine.begin() as connection:
            if change.number is None:
                change.number = self._insert(connection, values, refused=change.refused)
            else:
                this = audit.c.number == change.number
                connection.execute(update(audit).where(this).values(**values, refused=int(change.refused)))

    def refused(self, status: int, who: str, address: str, asked: str) -> None:
        """Count a request that was refused; :meth:`look` writes one row for all of a kind."""
        key = (status, who)
        with self._lock:
            if key not in self._refused and len(self._refused) >= _MOST_KEYS:
                return
            count = self._refused.setdefault(key, _Count())
            count.number += 1
            count.address, count.asked = address, asked

    def look(self) -> None:
        """Write down what was refused since the last time, and drop what is beyond the bounds.

        :raises TerraError: when the database cannot be used.
        """
        with self._lock:
            counts, self._refused = self._refused, {}
        for (status, who), count in counts.items():
            times = "once" if count.number == 1 else f"{count.number} times"
            _log.warning("refused", status=status, who=who, address=count.address, times=count.number)
            method, _, path = count.asked.partition(" ")
            values = dict.fromkeys((column.name for column in audit.c), "") | {
                "who": who,
                "address": count.address,
                "method": method,
                "path": path[:_LONGEST],
                "action": "refused",
                "detail": times,
                "result": f"refused: {status} {'Unauthorized' if status == 401 else 'Forbidden'}",
            }
            with explained(self._engine), self._engine.begin() as connection:
                self._insert(connection, values, refused=True)
        with explained(self._engine), self._engine.begin() as connection:
            self._prune(connection)

    def newest(self, most: int, host: str = "") -> Sequence[Mapping[str, Any]]:
        """Return the last entries, oldest first, with their columns by name.

        :param most: how many.
        :param host: only those of this machine.
        """
        query = select(audit).order_by(audit.c.number.desc()).limit(most)
        if host:
            query = query.where(or_(audit.c.subject == host, audit.c.path == f"/v1/nodes/{host}"))
        with explained(self._engine), self._engine.begin() as connection:
            rows = connection.execute(query).all()
        return [{**row._mapping, "refused": bool(row.refused)} for row in reversed(rows)]

    def _insert(self, connection: Connection, values: Mapping[str, Any], *, refused: bool) -> int:
        row = {**values, "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), "refused": int(refused)}
        row.pop("number", None)
        (number,) = connection.execute(insert(audit).values(**row)).inserted_primary_key or (0,)
        return int(number)

    def _prune(self, connection: Connection) -> None:
        for refused, most in self._bounds.items():
            of_kind = audit.c.refused == refused
            last = select(audit.c.number).where(of_kind).order_by(audit.c.number.desc()).offset(most).limit(1)
            number = connection.scalar(last)
            if number is not None:
                connection.execute(delete(audit).where(of_kind & (audit.c.number <= number)))
