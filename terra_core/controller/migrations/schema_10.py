"""What the hosts of a database need in order to pass requests on to each other."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "10"
down_revision = "9"


def upgrade() -> None:
    """Add where machines report to at each host, and the digests of what it shows when it passes a request on."""
    with op.batch_alter_table("controllers") as table:
        for name in ("reports", "pass_digest", "local_digest"):
            table.add_column(sa.Column(name, sa.String, nullable=False, server_default=""))
