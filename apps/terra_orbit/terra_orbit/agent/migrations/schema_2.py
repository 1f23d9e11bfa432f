"""A container that moves to another agent has its move noted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"


def upgrade() -> None:
    """Add the column; no container of an earlier agent is on its way, as far as its database knows."""
    with op.batch_alter_table("containers") as containers:
        containers.add_column(sa.Column("move", sa.JSON))
