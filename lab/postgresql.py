"""A PostgreSQL server."""

from __future__ import annotations

import pwd
import signal
from contextlib import closing
from pathlib import Path
from typing import Self

import psycopg

from iso.daemons import start, wait_ready
from lab.place import Place
from terra_core.errors import TerraError
from terra_core.system.process import run
from terra_core.system.undo import Undo

_START = 30.0
_END = 20.0
_USER = "terra"


class Postgresql:
    """Debian's PostgreSQL on a socket of its own, with data that end with it; other servers of this machine are left alone."""

    def __init__(self) -> None:
        self._place = Place("postgresql")
        self._resources = Undo()

    def __enter__(self) -> Self:
        with Undo() as resources:
            resources.enter_context(self._place)
            data = self._place.path / "data"
            run(_as_user(_program("initdb"), "-D", data, "-U", _USER, "-A", "trust", "--no-sync"), timeout=120)
            options = ["-c", "listen_addresses=", "-c", "fsync=off"]
            daemon = start(
                _as_user(_program("postgres"), "-D", data, "-k", self._place.path, *options), log=self._place.path / "log"
            )
            resources.callback(daemon.stop)
            resources.callback(daemon.wait, _END)
            resources.callback(daemon.signal, signal.SIGINT)  # SIGTERM waits for clients
            wait_ready(daemon, self._answers, seconds=_START, what="PostgreSQL to answer")
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        self._resources.unwind(failure)

    def make(self, name: str, dump: str = "") -> str:
        """Make a database, from a dump where one is given; return its URL for SQLAlchemy."""
        with closing(self._connect("postgres")) as connection:
            connection.execute(f'create database "{name}"'.encode())
        if dump:
            with closing(self._connect(name)) as connection:
                connection.execute(dump.encode())
        return f"postgresql+psycopg://{_USER}@/{name}?host={self._place.path}"

    def _connect(self, name: str) -> psycopg.Connection:
        return psycopg.connect(host=str(self._place.path), user=_USER, dbname=name, autocommit=True)

    def _answers(self) -> bool:
        try:
            self._connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True


def _program(name: str) -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    if not found:
        raise TerraError(f"{name}: not found on this machine", hint="install the package postgresql")
    return found[-1]


def _as_user(*words: Path | str) -> list[Path | str]:
    """Return the arguments that run a program as the server's user: it refuses to run as root, who owns its files here."""
    user = pwd.getpwnam("postgres")
    return ["unshare", "--user", f"--map-user={user.pw_uid}", f"--map-group={user.pw_gid}", *words]
