"""The databases of Terra's daemons: how they are opened, and which are refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import DataError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry

from terra_core.errors import ConfigError, TerraError, UnavailableError
from terra_core.service.database_server import (
    DatabaseAway,
    is_away,
    is_out_of_room,
    options_of,
    reason_of,
    require_fit,
    require_options,
)
from terra_core.service.private import keep_private
from terra_core.service.room import DatabaseFull, is_full
from terra_core.service.schema import Check, Schema, accept, migrate
from terra_core.system.undo import Undo

_log = structlog.get_logger(__name__)
_BUSY_MS = 10_000
_TURN_SECONDS = 60
_PASSWORD = re.compile(r"((?i:[a-z_]*pass[a-z_]*)\s*=\s*)('(?:\\.|[^'\\])*'?|(?:\\.|[^\s'\\])*)")
"""A password among the words of a connection string of libpq's."""
_DRIVER = "install what speaks to it, such as for PostgreSQL: pip install 'terra-core[service,postgresql]'"


def take_any(_: Connection) -> None:
    """Accept any database."""


def open_database(url: str, schema: Schema, check: Check = take_any) -> Engine:
    """Open the database. An empty one gets its tables, and one of an earlier version of Terra is migrated.

    A migration is one transaction: whatever fails, the database is as it was. A SQLite file is copied before.

    :param url: as SQLAlchemy has it, such as ``sqlite:////var/lib/terra/terra.db``.
    :param schema: what it is to hold.
    :param check: raises :class:`TerraError` to refuse the database before it is migrated; otherwise, what it writes is kept.
    :raises TerraError: when it can't be opened, is corrupt or refused, or belongs to a later version of Terra; nothing is
        replaced.
    """
    engine, name = open_engine(url), shown_url(url)
    with Undo() as undo:
        undo.callback(engine.dispose)
        try:
            _prepare(engine, name, schema, check)
        except DatabaseAway as error:
            raise DatabaseAway(error.message, hint="does its server run, and is its URL right?") from error
        undo.pop_all()
    return engine


def open_engine(url: str) -> Engine:
    """Return what connects to a database, before anything is asked of it.

    :raises TerraError: when ``url`` is none, or what speaks to such a database is missing.
    """
    name = shown_url(url)
    _check_url(url, name)
    try:
        return create_engine(url, hide_parameters=True, **_pool_of(url))  # some are secrets of machines
    except ImportError as error:  # of the driver, or of the library that the driver is for
        raise TerraError(f"{name}: the driver of the database cannot be used: {error}", hint=_DRIVER) from error
    except SQLAlchemyError as error:
        raise TerraError(f"{name}: is no database that Terra can open: {error}") from error
    except ValueError:  # its message shows what it took for a port, which may be a password
        raise TerraError(f"{name}: is no database that Terra can open: the URL has no valid port") from None


def _prepare(engine: Engine, name: str, schema: Schema, check: Check) -> None:
    try:
        if engine.dialect.name == "sqlite":
            if _is_file(engine.url):
                keep_private(Path(str(engine.url.database)))  # its log gets the same permissions from SQLite
            event.listen(engine, "connect", _prepare_sqlite)
            event.listen(engine, "begin", _begin_sqlite)
        with explained(engine), engine.begin() as connection:
            if engine.dialect.name == "sqlite":
                _check_sqlite(str(connection.exec_driver_sql("pragma quick_check").scalar()), name)
            require_fit(connection, name)
            accept(connection, name, schema, check)
        with explained(engine), engine.begin() as connection:
            migrated = migrate(connection, name, schema)
    except (SQLAlchemyError, ImportError, ValueError) as error:
        raise TerraError(f"{name}: is no database that Terra can open: {error}") from error
    if migrated is not None:
        copy = {} if migrated.copy is None else {"copy": str(migrated.copy)}
        _log.info("the database was migrated", database=name, former=migrated.former, schema=migrated.present, **copy)


def shown_url(url: str) -> str:
    """Return the URL of a database without user, password and options, which may hold a password as well.

    Where an ``@`` comes after what may begin the options, it may be of a password on either side, and no place is shown.
    """
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    if scheme.partition("+")[0] == "sqlite" and rest.startswith("/"):  # a file of this machine, which may have any name
        return url
    if not separator and "=" in url:  # words of libpq's, which are no URL
        return _PASSWORD.sub(r"\1***", url)
    place, *options = re.split("[?#;]", rest, maxsplit=1)
    if "@" in "".join(options):
        return f"{scheme}{separator}***"
    shown = re.split("%(?:23|3[BbFf])", place.rpartition("@")[2])[0]  # an engine's URL has those of a name escaped
    return f"{scheme}{separator}{'***@' if '@' in place else ''}{shown}"


def _check_url(url: str, name: str) -> None:
    """Refuse a password with characters that have to be escaped in a URL: part of it would be taken for the host, and shown."""
    scheme, _, rest = url.partition("://")
    if scheme.partition("+")[0] == "sqlite":
        return
    found = re.search("[/?#]", rest)
    authority, end, more = (rest, "", "") if found is None else (rest[: found.start()], found[0], rest[found.start() :])
    path = more.partition("?")[0] if end == "/" else more
    if authority.count("@") > 1 or "@" in path:
        raise TerraError(
            f"{name}: the user or the password holds a character that ends it",
            hint="write it as a URL has it (RFC 3986, section 2.1): / as %2F, @ as %40, ? as %3F, # as %23, % as %25",
        )


def _is_file(url: URL) -> bool:
    return bool(url.database) and not str(url.database).startswith((":", "file:"))


def _pool_of(url: str) -> dict[str, Any]:
    """Return how threads share a database: one connection for a SQLite file, whose transactions exclude each other anyway.

    SQLite itself gives no turns: who waits asks again now and then, and may never find it free while many others write.
    """
    parsed = make_url(url)
    require_options(parsed, shown_url(url))
    if parsed.get_backend_name() != "sqlite":
        return options_of(parsed)
    if not _is_file(parsed):
        return {}
    return {"pool_size": 1, "max_overflow": 0, "pool_timeout": _TURN_SECONDS}


@contextmanager
def explained(engine: Engine) -> Iterator[None]:
    """Turn an error of the database in a block, such as a full disk, into an error that a user can act upon.

    :param engine: the database that is worked with.
    :raises UnavailableError: when the same may work a moment later.
    """
    try:
        yield
    except DataError as error:  # a text with a NUL, in a path of a request: PostgreSQL has no such texts, and is well
        raise ConfigError([f"the database holds no such value: {reason_of(error.orig)}"]) from error
    except PoolTimeout as error:
        said = f"{shown_url(engine.url.render_as_string())}: the database was in use for too long"
        raise UnavailableError(said, hint="its disk may be slow, or busy: try again") from error
    except DBAPIError as error:
        raise _explanation(engine, error) from error


def _explanation(engine: Engine, error: DBAPIError) -> TerraError:
    name, reason = shown_url(engine.url.render_as_string()), reason_of(error.orig)
    said = f"{name}: the database cannot be used: {reason}"
    if is_full(error.orig) or is_out_of_room(error.orig):
        return DatabaseFull(said, hint="make room on its disk, or let it be written there")
    if engine.dialect.name == "sqlite":
        return TerraError(said, hint="mend it, or put a good copy in its place; Terra does not replace it by an empty one")
    if is_away(error):
        hint = "look at its server; the controller goes on by itself when that answers again"
        return DatabaseAway(f"{name}: the database does not answer now: {reason}", hint=hint)
    return TerraError(said, hint="look at the database, and at what its user may do there")


def _prepare_sqlite(connection: Any, _: ConnectionPoolEntry) -> None:  # the driver's own class
    connection.isolation_level = None  # transactions are begun by _begin_sqlite
    # Else one text that is not UTF-8 keeps every row of an answer from being read.
    connection.text_factory = lambda text: text.decode(errors="backslashreplace")
    with Undo() as undo:
        undo.callback(connection.close)  # one that is refused here is in no pool, whose end would close it
        with closing(connection.cursor()) as cursor:  # one that is open would keep the connection's file open
            for statement in ("journal_mode=wal", f"busy_timeout={_BUSY_MS}", "foreign_keys=on", "synchronous=full"):
                cursor.execute(f"pragma {statement}")
        undo.pop_all()


def _begin_sqlite(connection: Connection) -> None:
    """Begin each transaction at its start: the driver begins at the first write, when what was read may be out of date."""
    connection.exec_driver_sql("begin immediate")


def _check_sqlite(answer: str, name: str) -> None:
    if answer != "ok":
        raise TerraError(f"{name}: the database is damaged: {answer}", hint="put a good copy in its place")
