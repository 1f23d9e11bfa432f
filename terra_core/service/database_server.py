"""Databases on a server, PostgreSQL: how they are connected to, what their errors mean, and who may do something alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import URL, Connection, func, select
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from terra_core.errors import TerraError, UnavailableError

POSTGRESQL = "postgresql"
_ENCODINGS = ("UTF8", "SQL_ASCII")
"""What keeps every text of Terra's: SQL_ASCII takes bytes as they are, and the connections speak UTF-8."""
_CONNECTION: Mapping[str, object] = {
    "application_name": "terra",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""Options of libpq (section "Parameter Key Words" of its manual): a server that is cut off is given up within 25 seconds."""
_ALWAYS: Mapping[str, object] = {"client_encoding": "utf8"}
"""What no URL replaces: other encodings lack characters."""
_OF_DRIVER = ("autocommit", "context", "cursor_factory", "prepare_threshold", "row_factory")
"""What psycopg takes for itself, and none of it as text (its manual, "Connection.connect")."""
_OF_LIBPQ = ("psycopg", "psycopg2")
_ERRNO = re.compile(r"\[Errno -?\d+\] ")
_DISK_FULL = "53100"
_AWAY = ("08", "53", "57P")
"""Connections, resources and operators that end them (PostgreSQL's manual, appendix "Error Codes")."""
_DOWN = ("Connection refused", "No such file or directory", "the database system is ")
_NOT_HEARD = ("timeout", "timed out", "unreachable", "No route")
_IN_THE_WAY = ("25006", "25P03", "40001", "40P01", "55P03", "57014")
"""A server that takes no writes just now, limits of time, and transactions that exclude each other."""


class DatabaseAway(UnavailableError):  # noqa: N818  # a state of the server
    """The database does not answer now; whether a change that was under way has been made is not known."""


def options_of(url: URL) -> dict[str, Any]:
    """Return the arguments for an engine of a database on a server: a connection is tried before each use of it.

    :param url: of any database; what its query says is not replaced.
    """
    if url.get_backend_name() != POSTGRESQL:
        return {"pool_pre_ping": True}
    given = for_libpq(url, _CONNECTION)
    return {"pool_pre_ping": True, "isolation_level": "READ COMMITTED", "connect_args": given}


def for_libpq(url: URL, parameters: Mapping[str, object]) -> dict[str, object]:
    """Return those of libpq's parameters that a URL leaves open, and the encoding; none where its driver does not use libpq."""
    if not _is_by_libpq(url):
        return {}
    return {**{name: value for name, value in parameters.items() if name not in url.query}, **_ALWAYS}


def _is_by_libpq(url: URL) -> bool:
    return url.get_driver_name() in _OF_LIBPQ


def require_options(url: URL, name: str) -> None:
    """Refuse a URL with options that are the driver's own.

    :param name: what the database is called, for the error.
    :raises TerraError: naming the option.
    """
    own = [option for option in _OF_DRIVER if _is_by_libpq(url) and option in url.query]
    if own:
        hint = "what libpq takes may follow after ?: see \"Parameter Key Words\" in PostgreSQL's manual"
        raise TerraError(f"{name}: the URL has the option {own[0]}, which is none of libpq's", hint=hint)


def require_fit(connection: Connection, name: str) -> None:
    """Refuse a database that does not keep every text.

    :param name: what the database is called, for the error.
    """
    if connection.dialect.name != POSTGRESQL:
        return
    encoding = str(connection.exec_driver_sql("show server_encoding").scalar())
    if encoding not in _ENCODINGS:
        hint = "make one that keeps every text: createdb --template=template0 --encoding=UTF8 NAME"
        raise TerraError(f"{name}: the database has the encoding {encoding}, which lacks characters", hint=hint)


def exclude_others(connection: Connection, lock: int) -> None:
    """Do what follows in a transaction alone, of all that ask for the same advisory lock; on SQLite every transaction is alone.

    :param lock: a number of the purpose's own.
    """
    if connection.dialect.name == POSTGRESQL:
        connection.execute(select(func.pg_advisory_xact_lock(lock)))


def reason_of(error: BaseException | None) -> str:
    """Return what the driver said, in one line and without rows and values, which hold secrets of machines."""
    primary = getattr(getattr(error, "diag", None), "message_primary", None)
    return " ".join(_ERRNO.sub("", str(primary or error)).split())


def is_away(error: DBAPIError) -> bool:
    """Return whether an error says that a server is not there now, or has something in the way that passes."""
    if error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", None)
    if state is None:  # the connection failed, and the server said nothing
        return isinstance(error, OperationalError | InterfaceError)
    return str(state).startswith(_AWAY) or state in _IN_THE_WAY


def is_down(error: TerraError) -> bool:
    """Return whether an error says that no server runs there: its machine, or the server itself, refuses connections.

    Nobody else works with the database then. A server that only is not heard may be well, and others may hear it.
    """
    said = error.message
    return isinstance(error, DatabaseAway) and any(one in said for one in _DOWN) and not any(one in said for one in _NOT_HEARD)


def is_out_of_room(error: BaseException | None) -> bool:
    """Return whether an error of a server says that its disk is full."""
    return getattr(error, "sqlstate", None) == _DISK_FULL
