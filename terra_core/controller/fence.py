"""What keeps a controller that has lost the lead from writing: each transaction that writes asks for the epoch first."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

from sqlalchemy import Connection, Engine, event, select

from terra_core.controller.database import audit, controllers, drained, lead, leases, tokens
from terra_core.controller.leading import Lead
from terra_core.errors import UnavailableError

_OPEN = frozenset({audit, controllers, drained, lead, leases, tokens})
"""What each host writes for itself, or for whoever asks it; who has no lease is kept from writing there by its statements."""
_READING = ("select", "show", "set", "begin", "pragma")


def fence(engine: Engine, standing: Lead) -> None:
    """Let no statement of an engine write anything that the leader alone writes, unless it leads.

    The row with the epoch is locked to the end of the transaction, so that nobody takes the lead before it: what was written is
    committed in the epoch that was asked for, or not at all.

    :param engine: the database, in PostgreSQL.
    :raises UnavailableError: by statements, when this controller does not lead.
    """
    asked: WeakSet[Any] = WeakSet()

    def check(connection: Connection, _: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        transaction = connection.get_transaction()
        if not _writes(statement, context) or transaction in asked:
            return
        standing.require()
        mine = select(lead.c.epoch).where(lead.c.epoch == standing.epoch).with_for_update(read=True, key_share=True)
        if connection.execute(mine).first() is None:
            raise UnavailableError("another host leads by now, and nothing is written", hint="terra hosts shows who leads")
        if transaction is not None:
            asked.add(transaction)

    event.listen(engine, "before_cursor_execute", check)


def _writes(statement: str, context: Any) -> bool:  # SQLAlchemy's context of a statement
    """Return whether a statement writes what is the leader's; a text that is no question counts as one that does."""
    if context.compiled is None:
        return not statement.lstrip().lower().startswith(_READING)
    changes = context.isinsert or context.isupdate or context.isdelete
    return changes and getattr(context.compiled.statement, "table", None) not in _OPEN
