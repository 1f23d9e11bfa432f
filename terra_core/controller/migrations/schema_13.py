"""Which host has the volumes of a machine, where hosts have stores of their own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "13"
down_revision = "12"


def upgrade() -> None:
    """Add the host of machines and golden volumes, and what hosts say of their stores."""
    for name in ("nodes", "golden_volumes"):
        with op.batch_alter_table(name) as table:
            table.add_column(sa.Column("host", sa.String, nullable=False, server_default=""))
    with op.batch_alter_table("controllers") as table:
        table.add_column(sa.Column("local_store", sa.Integer, nullable=False, server_default="0"))
        table.add_column(sa.Column("trouble", sa.String, nullable=False, server_default=""))
