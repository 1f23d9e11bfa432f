"""The hosts that are drained."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "11"
down_revision = "10"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "drained",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("since", sa.Float, nullable=False),
        comment="the hosts that take no lead until somebody lets them (decision 0100); since in seconds since 1970",
    )
