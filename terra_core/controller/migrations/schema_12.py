"""Work that any host may do, and who does it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "12"
down_revision = "11"


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "work",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("version", sa.String, nullable=False),
        sa.Column("data", sa.JSON, nullable=False),
        sa.Column("wanted", sa.Integer, nullable=False),
        sa.UniqueConstraint("kind", "subject"),
        sqlite_autoincrement=True,
        comment="work that any host of this version may do (decision 0104); the leader alone writes here; "
        "wanted is 0 once it is over",
    )
    op.create_table(
        "leases",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("attempt", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("identity", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("until", sa.Float, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("made", sa.JSON, nullable=False),
        sa.Column("events", sa.JSON, nullable=False),
        sa.Column("outcome", sa.JSON, nullable=False),
        comment="who has taken a piece of work, until when if nothing is heard, and what is made for it; "
        "each host writes its own",
    )
