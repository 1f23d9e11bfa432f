"""The upgrade of a machine."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "7"
down_revision = "6"


def upgrade() -> None:
    """Add the column; no machine has an upgrade. PostgreSQL cannot compare defaults that are JSON: it goes without one."""
    with op.batch_alter_table("nodes") as nodes:
        nodes.add_column(sa.Column("upgrade", sa.JSON, nullable=False, server_default="{}"))
    with op.batch_alter_table("nodes") as nodes:
        nodes.alter_column("upgrade", server_default=None, existing_type=sa.JSON, existing_nullable=False)
