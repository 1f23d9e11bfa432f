"""Named tokens, and the audit log of changes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "3"
down_revision = "2"

_OF_TOKENS = ("role", "digest", "created", "last_used", "expires", "revoked")
_OF_CHANGES = ("who", "role", "address", "method", "path", "action", "subject", "detail", "result")


def upgrade() -> None:
    """Make both tables."""
    op.create_table(
        "tokens",
        sa.Column("name", sa.String, primary_key=True),
        *(sa.Column(name, sa.String, nullable=False, unique=name == "digest" or None) for name in _OF_TOKENS),
    )
    op.create_table(
        "audit",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("time", sa.String, nullable=False),
        sa.Column("refused", sa.Integer, nullable=False),
        *(sa.Column(name, sa.String, nullable=False) for name in _OF_CHANGES),
        sqlite_autoincrement=True,
    )
