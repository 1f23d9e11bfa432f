"""The tables of the first controllers, which made them without Alembic."""

from __future__ import annotations

revision = "1"
down_revision = None


def upgrade() -> None:
    """Change nothing: a database that is new gets the present tables at once, and every other one has at least this schema."""
