"""An agent of the lab's own, with the ``ob`` command at hand."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from iso.daemons import start, wait_ready
from lab.engine import Engine
from lab.place import Place
from orbit_lab.host import Host
from orbit_lab.podman import Podman
from terra_core.client.connection import Client
from terra_core.config.controller import Paths
from terra_core.service.tokens import read_token
from terra_core.system.process import Argument, Completed, Daemon, run
from terra_core.system.undo import Undo
from terra_core.system.waiting import wait_until
from terra_orbit import API_PORT
from terra_orbit.service import AGENT

_BIN = Path(sys.executable).parent


class Agent:
    """``orbit-server`` on a host, for one engine; leaving deletes its containers and ends it.

    :param engine: what runs its containers: Docker or Podman.
    :param host: where it runs.
    :param address: where its API answers; the host's own loopback when left out.
    """

    def __init__(self, engine: Engine | Podman, host: Host, *, address: str = "127.0.0.1") -> None:
        self.engine = engine
        self.host = host
        self.address = address
        self.daemon: Daemon | None = None
        self._place = Place("orbit")
        self._resources = Undo()

    @property
    def root(self) -> Path:
        """Its root."""
        return self._place.path / "root"

    @property
    def log(self) -> Path:
        """The file that takes its output."""
        return self._place.path / "agent.log"

    @property
    def token(self) -> str:
        """The token of its API."""
        return read_token(Paths(self.root).token)

    def __enter__(self) -> Self:
        with Undo() as resources:
            resources.enter_context(self._place)
            self.root.mkdir()
            self.start()
            resources.callback(self.stop)
            resources.callback(self.clear)
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        self._resources.unwind(failure)

    def start(self) -> None:
        """Start it as its unit does, and wait until it answers."""
        words: list[Argument] = [_BIN / "orbit-server", "--debug", "--root", self.root, "--address", self.address]
        env = {"DOCKER_HOST": self.engine.host}
        self.daemon = start(self.host.command(words), log=self.log, env=env)
        wait_ready(self.daemon, self._answers, seconds=60, what="the agent to answer")

    def stop(self) -> None:
        """End it; its containers go on."""
        if self.daemon is not None:
            self.daemon.stop(30)
            self.daemon = None

    def kill(self) -> None:
        """End it as a loss of power would."""
        if self.daemon is not None:
            self.daemon.signal(9)
            self.daemon.wait(10)
            self.daemon = None

    def environment(self) -> dict[str, str]:
        """Return the environment that a shell needs so that ``ob`` there speaks to this agent."""
        return {"AGENT_ADDR": self.address, "TERRA_TOKEN": self.token}

    def words(self, *words: Argument) -> list[str]:
        """Return the arguments that run ``ob`` on the host."""
        return self.host.command([_BIN / "ob", *words])

    def ob(self, *words: Argument, accept: Sequence[int] = (0,), stdin: bytes | None = None, timeout: float = 120) -> Completed:
        """Run ``ob`` to its end."""
        return run(self.words(*words), env=self.environment(), accept=accept, stdin=stdin, timeout=timeout)

    def get(self, name: str) -> dict[str, Any]:
        """Return what ``ob get`` shows."""
        shown: dict[str, Any] = json.loads(self.ob("get", name).text)
        return shown

    def rows(self) -> list[dict[str, Any]]:
        """Return what ``ob list --json`` shows."""
        shown: list[dict[str, Any]] = json.loads(self.ob("list", "--json").text)
        return shown

    def client(self) -> Client:
        """Return a client of its API, to be used on the host."""
        return Client(self.address, token=self.token, port=API_PORT, service=AGENT)

    def wait_for(self, name: str, status: str = "running", *, seconds: float = 60) -> dict[str, Any]:
        """Wait until a container has a status; return what ``ob get`` shows."""

        def probe() -> dict[str, Any] | None:
            shown = self.get(name)
            return shown if shown["status"] == status else None

        return wait_until(probe, seconds=seconds, what=f"{name} to be {status}", interval=0.3)

    def clear(self) -> None:
        """Delete every container."""
        if self.daemon is None:
            self.start()
        names = [row["id"] for row in self.rows()]
        if names:
            self.ob("delete", "--time", "0", *names, timeout=60 + 10 * len(names))

    def left(self) -> list[str]:
        """Everything that containers have here, a line each; empty when there is none."""
        state = self.root / "var/lib/terra/orbit"
        pools = [path for path in state.glob("networks/*/*") if path.name[:4] not in ("lock", "last")]
        found = [f"address {path}" for path in pools] + [f"file {path}" for path in state.glob("configs/*")]
        client = self.engine.client()
        try:
            found += [f"container {one.name}" for one in client.containers.list(all=True)]
        finally:
            client.close()
        return found

    def forget(self) -> None:
        """Remove its database and files, as a machine that is installed anew."""
        shutil.rmtree(self.root)
        self.root.mkdir()

    def _answers(self) -> bool:
        with self.host.inside():
            client = Client(self.address, token="none-that-counts", port=API_PORT, service=AGENT)  # noqa: S106  # none is needed
            return bool(client.get("/healthz"))
