"""What happened to each machine, how far its boot came, and since when it is in its state."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "5"
down_revision = "4"


def upgrade() -> None:
    """Add both tables, and the time of each machine's state, which is unknown of those that are there."""
    op.create_table(
        "happenings",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("hostname", sa.String, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("time", sa.String, nullable=False),
        sa.Column("text", sa.String, nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sqlite_autoincrement=True,
        comment="what happened to each machine, kept to a bound; numbers give the order",
    )
    op.create_index("happenings_of_machine", "happenings", ["hostname", "generation", "kind", "number"])
    op.create_table(
        "boots",
        sa.Column("hostname", sa.String, primary_key=True),
        sa.Column("generation", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("stage", sa.String, nullable=False),
        sa.Column("since", sa.String, nullable=False),
        sa.Column("report", sa.JSON, nullable=False),
        comment="how far the boot of each machine came, as far as anything was seen of it",
    )
    with op.batch_alter_table("nodes") as nodes:
        nodes.add_column(sa.Column("since", sa.String, nullable=False, server_default=""))
