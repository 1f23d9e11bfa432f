"""Images are laid down once for a layout of disks, and a machine says which layout it has."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "4"
down_revision = "3"


def upgrade() -> None:
    """Add the table of golden volumes, and the layout of each machine, which is unknown of those that are there."""
    op.create_table(
        "golden_volumes",
        sa.Column("token", sa.String, primary_key=True),
        sa.Column("layout", sa.String, nullable=False, unique=True),
        sa.Column("image", sa.String, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.Column("described", sa.String, nullable=False),
        sa.Column("store", sa.String, nullable=False),
        sa.Column("contract", sa.Integer, nullable=False),
        sa.Column("volumes", sa.JSON, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("used", sa.Integer, nullable=False),
        sa.Column("pinned", sa.Integer, nullable=False),
        comment="images that are laid down once for a layout of disks, for machines to be clones of",
    )
    with op.batch_alter_table("nodes") as nodes:
        nodes.add_column(sa.Column("layout", sa.String, nullable=False, server_default=""))
