"""The controllers of the database, and who leads."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "8"
down_revision = "7"

_TEXTS = ("identity", "url", "portal", "store", "version", "state")


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "controllers",
        sa.Column("name", sa.String, primary_key=True),
        *(sa.Column(name, sa.String, nullable=False) for name in _TEXTS),
        sa.Column("started", sa.Float, nullable=False),
        sa.Column("seen", sa.Float, nullable=False),
        comment="the controllers of this database (decision 0096); identity is of a process, times are in seconds since 1970",
    )
    op.create_table(
        "lead",
        sa.Column("epoch", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("identity", sa.String, nullable=False),
        sa.Column("seen", sa.Float, nullable=False),
        comment="one row: who leads, since the epoch that every write of theirs asks for (decision 0097)",
    )
