"""What Alembic runs for every command: the migration of the database that the caller has open, in the transaction it is in."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
