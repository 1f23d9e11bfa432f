"""A controller's own session of PostgreSQL: what is locked in it is free once the controller is gone, however it went."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import URL, Connection, Engine, column, create_engine, event, func, select, table
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, NullPool

from terra_core.service.database import explained
from terra_core.service.database_server import POSTGRESQL, for_libpq

_NAMES = int.from_bytes(b"terr")
"""The class of the advisory locks of names; the other number of each is a checksum of the name."""
LEAD = (int.from_bytes(b"terl"), 0)
"""The advisory lock of who leads."""
_SCHEMA = "public"
"""The schema of a database that has one site."""
ASKING_SECONDS = 5
"""How long one question may take: a host that is cut off has to find that out before others take its place."""
_sessions = table("pg_stat_activity", *(column(name) for name in ("pid", "datname", "application_name")))
_CONNECT = {
    "connect_timeout": ASKING_SECONDS,
    "keepalives_idle": 2,
    "keepalives_interval": 1,
    "keepalives_count": 3,
    "tcp_user_timeout": ASKING_SECONDS * 1000,
}
"""The parameters of libpq by which a connection to a server that does not answer is given up."""


def name_lock(name: str) -> tuple[int, int]:
    """Return the advisory lock of a controller's name."""
    return _NAMES, _checksum(name)


def _checksum(text: str) -> int:
    checksum = zlib.crc32(text.encode())
    return checksum - (1 << 32 if checksum >= 1 << 31 else 0)  # PostgreSQL's integers have a sign


def mark_sessions(engine: Engine, identity: str) -> None:
    """Let all connections of a controller to PostgreSQL bear its identity; those that are open already are given up."""

    def mark(connection: object, _: ConnectionPoolEntry) -> None:
        _name_session(connection, f"terra:{identity}")

    if engine.dialect.name == POSTGRESQL:
        event.listen(engine, "connect", mark)
        engine.dispose()


def _name_session(connection: object, name: str) -> None:
    cursor = connection.cursor()  # type: ignore[attr-defined]  # a connection of the driver's, as PEP 249 has it
    cursor.execute(f"set application_name = '{name}'")
    connection.commit()  # type: ignore[attr-defined]  # as above
    cursor.close()


class HostSession:
    """A session of its own beside the pool. To be used by one thread at a time.

    :param url: of the database.
    :param identity: that of this controller's process.
    """

    def __init__(self, url: URL, identity: str) -> None:
        self._identity = identity
        self._engine = create_engine(url, poolclass=NullPool, connect_args=for_libpq(url, _CONNECT))
        self._connection: Connection | None = None
        self._locked: set[tuple[int, int]] = set()
        self._site = 0

    @property
    def is_open(self) -> bool:
        """Whether what was locked in it is locked still, as far as anybody here knows."""
        return self._connection is not None

    @contextmanager
    def asking(self) -> Iterator[Connection]:
        """Offer the connection, each statement of which is a transaction; it is made where there is none.

        :raises TerraError: when the database does not answer; all locks are lost then.
        """
        try:
            with explained(self._engine):
                yield self._connection or self._open()
        except BaseException:
            self.close()
            raise

    def try_lock(self, lock: tuple[int, int]) -> bool:
        """Take an advisory lock, unless it is this session's already; return False when another session has it.

        :raises TerraError: when the database does not answer.
        """
        if lock not in self._locked:
            with self.asking() as connection:
                if not connection.scalar(select(func.pg_try_advisory_lock(*self._of_site(lock)))):
                    return False
            self._locked.add(lock)
        return True

    def unlock(self, lock: tuple[int, int]) -> None:
        """Give an advisory lock back."""
        with self.asking() as connection:
            connection.execute(select(func.pg_advisory_unlock(*self._of_site(lock))))
        self._locked.discard(lock)

    def end_sessions(self, identity: str) -> int:
        """End the sessions of another controller, or former ones such as this of this controller; return how many.

        What they had not committed is undone, and their locks are free.
        """
        names = [f"terra:{identity}:host", *([] if identity == self._identity else [f"terra:{identity}"])]
        here = (_sessions.c.datname == func.current_database()) & (_sessions.c.pid != func.pg_backend_pid())
        ending = select(func.count(func.pg_terminate_backend(_sessions.c.pid)))
        with self.asking() as connection:
            return int(connection.scalar(ending.where(here & _sessions.c.application_name.in_(names))) or 0)

    def close(self) -> None:
        """End it; what was locked is free."""
        connection, self._connection = self._connection, None
        self._locked.clear()
        if connection is not None:
            with suppress(SQLAlchemyError):
                connection.invalidate()
            with suppress(SQLAlchemyError):
                connection.close()

    def _of_site(self, lock: tuple[int, int]) -> tuple[int, int]:
        """Return a lock as this site's: locks are of a database, which may have several sites, in schemas of their own."""
        return lock[0], lock[1] ^ self._site

    def _open(self) -> Connection:
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._connection = connection
        connection.exec_driver_sql(f"set application_name = 'terra:{self._identity}:host'")
        connection.exec_driver_sql(f"set statement_timeout = {ASKING_SECONDS * 1000}")
        schema = str(connection.scalar(select(func.current_schema())))
        self._site = 0 if schema == _SCHEMA else _checksum(schema)
        return connection
