"""Being one of the controllers of a database: a name that nobody else has, and a sign of life every few seconds."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path

import structlog
from sqlalchemy import Engine

from terra_core.config.controller import Controller
from terra_core.controller.host_session import HostSession, name_lock
from terra_core.controller.hosts import Doing, Host, HostRows, Own
from terra_core.controller.peers import Passes
from terra_core.errors import TerraError
from terra_core.service.access import digest_of
from terra_core.service.database_server import POSTGRESQL
from terra_core.service.running import Unending, watching
from terra_core.system.locks import try_lock
from terra_core.system.undo import Undo
from terra_core.system.waiting import WaitedInVain, wait_until

_log = structlog.get_logger(__name__)
BEAT_SECONDS = 5.0
_PATIENCE_SECONDS = 3.0
"""How long the sessions of a controller that was killed may take to end."""


def own_of(config: Controller, url: str, store: str, *, reports: str = "", passes: Passes | None = None) -> Own:
    """Return what a controller says of itself, with an identity that it has never had.

    :param url: where its API answers.
    :param store: the plugin that has its volumes.
    :param reports: where machines report to it.
    :param passes: what it shows to other hosts; nothing when left out.
    """
    digests = {"pass_digest": passes.mark, "local_digest": passes.local} if passes else {}
    return Own(
        name=config.own_name,
        identity=secrets.token_hex(12),
        url=url,
        portal=config.portal,
        store=store,
        version=version("terra-core"),
        reports=reports,
        local_store=int(config.local_store),
        **{name: digest_of(secret.encode()) for name, secret in digests.items()},
    )


@contextmanager
def alone_with(file: Path | None) -> Iterator[None]:
    """Hold the lock of a SQLite file, which has one controller.

    :param file: the database; ``None`` for another one, and nothing is locked.
    :raises TerraError: when another controller has it.
    """
    if file is None or not file.parent.is_dir():
        yield
        return
    path = file.with_name(f"{file.name}.lock")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        hint = "it keeps a database to one controller"
        raise TerraError(f"{path}: cannot be written: {error.strerror}", hint=hint) from error
    try:
        if not try_lock(descriptor):
            hint = "stop that one first; several controllers need a database in PostgreSQL"
            raise TerraError(f"{file}: another controller works with this database", hint=hint)
        yield
    finally:
        os.close(descriptor)


def claim_name(session: HostSession, own: Own, rows: HostRows) -> None:
    """Take a name for this controller, in a session of PostgreSQL.

    :raises TerraError: when another controller has it, which is there.
    """
    lock = name_lock(own.name)

    def claimed() -> bool:
        if session.try_lock(lock):
            return True
        holder = rows.find(own.name)
        if holder is not None and not holder.runs:
            ended = session.end_sessions(holder.own.identity)
            _log.warning("a controller of this name was silent: its sessions are ended", name=own.name, sessions=ended)
        return False

    try:
        wait_until(claimed, seconds=_PATIENCE_SECONDS, what="the name to be free")
    except WaitedInVain:
        raise TerraError(
            f"{_where(rows.find(own.name))} has the name {own.name!r} among the controllers of this database",
            hint="give each a name of its own in controller.toml (name), or stop that one",
        ) from None


def _where(holder: Host | None) -> str:
    return "another controller" if holder is None else f"the controller at {holder.own.url}"


@contextmanager
def announced(
    engine: Engine,
    own: Own,
    doing: Callable[[], Doing],
    ended: Callable[[], Doing] = lambda: Doing.STOPPED,
    trouble: Callable[[], str] = lambda: "",
) -> Iterator[None]:
    """Say of this controller that it is there, for as long as the block lasts, and at its end that it is stopped.

    :param engine: the database.
    :param doing: what it does now.
    :param ended: what is said at the end.
    :param trouble: what keeps all of its machines from booting now.
    """
    rows, keeping = HostRows(engine), Unending("that this host is there cannot be written down")

    def beat() -> None:
        with keeping.turn():
            rows.beat(own, doing(), trouble())

    def end() -> None:
        with suppress(TerraError):
            rows.beat(own, ended())

    with Undo() as undo:
        with keeping.turn():  # a full disk: it is said a moment later, and machines are served all the same
            rows.announce(own, doing())
        undo.callback(end)
        undo.enter_context(watching(beat, seconds=BEAT_SECONDS))
        yield


@contextmanager
def session_of(engine: Engine, own: Own) -> Iterator[HostSession | None]:
    """Offer this controller's own session, in which it has its name; ``None`` for a SQLite file.

    :param engine: the database.
    :raises TerraError: when another controller has the name.
    """
    if engine.dialect.name != POSTGRESQL:
        yield None
        return
    with closing(HostSession(engine.url, own.identity)) as session:
        claim_name(session, own, HostRows(engine))
        yield session
