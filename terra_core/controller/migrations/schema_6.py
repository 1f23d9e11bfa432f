"""Machines report their boots, each with a token."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "6"
down_revision = "5"


def upgrade() -> None:
    """Add the table of tokens; machines get theirs when the controller runs."""
    op.create_table(
        "report_tokens",
        sa.Column("digest", sa.String, primary_key=True),
        sa.Column("hostname", sa.String, nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("place", sa.String, nullable=False),
        sa.Column("published", sa.Float, nullable=False),
        sa.Column("boots", sa.String, nullable=False),
        comment="tokens of machines for reports of boots; published in seconds since 1970, 0 before it is in the boot files",
    )
    op.create_index("ix_report_tokens_hostname", "report_tokens", ["hostname"])
