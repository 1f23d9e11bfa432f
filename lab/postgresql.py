"""A PostgreSQL server."""

from __future__ import annotations

import pwd
import signal
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Self

import psycopg

from iso.daemons import start, wait_ready
from lab.network import GATEWAY, PREFIX, Network
from lab.place import Place
from terra_core.errors import TerraError
from terra_core.system.process import Daemon, run
from terra_core.system.undo import Undo
from terra_core.system.waiting import wait_until

_START = 30.0
_END = 20.0
_USER = "terra"


class Postgresql:
    """Debian's PostgreSQL on a socket of its own, with data that end with it; other servers of this machine are left alone.

    :param network: where it answers by TCP as well, to everybody; nowhere when left out.
    """

    def __init__(self, network: Network | None = None) -> None:
        self._network = network
        self._place = Place("postgresql")
        self._resources = Undo()
        self._daemon: Daemon | None = None

    def __enter__(self) -> Self:
        with Undo() as resources:
            resources.enter_context(self._place)
            data = self._place.path / "data"
            words: list[Path | str] = ["-D", data, "-U", _USER, "-A", "trust", "--no-sync", "--encoding=UTF8", "--locale=C"]
            run(_as_user(_program("initdb"), *words), timeout=120)
            if self._network is not None:
                with (data / "pg_hba.conf").open("a") as file:
                    file.write(f"host all all {GATEWAY}/{PREFIX} trust\n")
            resources.callback(self.stop)
            self.start()
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        self._resources.unwind(failure)

    def start(self) -> None:
        """Start the server, also after :meth:`kill`, and wait until it answers."""
        options = ["-c", f"listen_addresses={'' if self._network is None else GATEWAY}", "-c", "fsync=off"]
        place = self._place.path
        words = _as_user(_program("postgres"), "-D", place / "data", "-k", place, *options)
        if self._network is not None:
            words = [*self._network.command(words)]
        wait_until(lambda: self._began(words), seconds=_START, what="PostgreSQL to begin")

    def kill(self) -> None:
        """Kill the server's first process, as a machine that loses its power does; the others end by themselves."""
        if self._daemon is not None:
            self._daemon.signal(signal.SIGKILL)
            self._daemon.wait(_END)

    def stop(self) -> None:
        """End the server; it does not wait for its clients."""
        if self._daemon is not None:
            with Undo() as undo:
                undo.callback(self._daemon.stop)
                self._daemon.signal(signal.SIGINT)  # SIGTERM waits for clients
                self._daemon.wait(_END)

    def make(self, name: str, dump: str = "", more: str = "") -> str:
        """Make a database, from a dump where one is given; return its URL for SQLAlchemy.

        :param more: further words of ``create database``.
        """
        with closing(self._connect("postgres")) as connection:
            connection.execute(f'create database "{name}" {more}'.encode())
        if dump:
            with closing(self._connect(name)) as connection:
                connection.execute(dump.encode())
        if self._network is not None:
            return f"postgresql+psycopg://{_USER}@{GATEWAY}:5432/{name}"
        return f"postgresql+psycopg://{_USER}@/{name}?host={self._place.path}"

    def _connect(self, name: str) -> psycopg.Connection:
        return psycopg.connect(host=str(self._place.path), user=_USER, dbname=name, autocommit=True)

    def _began(self, words: Sequence[Path | str]) -> bool:
        """Start the server; return whether it answers, which it does not while processes of a killed one are left."""
        self._daemon = start(words, log=self._place.path / "log")
        try:
            wait_ready(self._daemon, self._answers, seconds=_START, what="PostgreSQL to answer")
        except TerraError:
            if self._daemon.alive or "pre-existing shared memory" not in self._daemon.tail():
                raise
            return False
        return True

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
