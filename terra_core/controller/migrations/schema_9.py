"""Numbers of what happens, and of changes, beyond 2,147,483,647: a server's INTEGER has 32 bits, and SQLite's 64."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "9"
down_revision = "8"


def upgrade() -> None:
    """Let the columns and what counts them have 64 bits; SQLite has no others."""
    if op.get_bind().dialect.name != "postgresql":
        return
    for table in ("audit", "happenings"):
        op.alter_column(table, "number", type_=sa.BigInteger)
        op.execute(f"alter sequence {table}_number_seq as bigint")
