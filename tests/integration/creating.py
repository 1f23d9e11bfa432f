"""``terra create`` as a user runs it, on an engine and to a registry of the test's own."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from lab.engine import Engine
from lab.network import Network
from lab.registry import Registry
from terra_core.system.process import Argument, run

BASE = "terra.test/base:1"
_NOWHERE = "unix:///nowhere/docker.sock"
_TERRA = Path(sys.executable).parent / "terra"


class Create:
    """Runs ``terra create``.

    :param directory: holds server.toml and what else the build sees; made when it is not there.
    :param engine: where it builds; no Docker Engine answers when there is none.
    :param repository: the path in the registry that images are named below.
    :param variables: environment variables of the command, beside DOCKER_HOST.
    """

    def __init__(
        self,
        directory: Path,
        engine: Engine | None,
        registry: Registry,
        network: Network,
        *,
        repository: str = "terra",
        variables: Mapping[str, str] | None = None,
    ) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.environment: Mapping[str, str] = {"DOCKER_HOST": engine.host if engine else _NOWHERE, **(variables or {})}
        self._repository = f"{registry.address}/{repository}"
        self._network = network

    def write(self, userland: str, more: str = "", **changes: str) -> None:
        """Write server.toml.

        :param userland: its Dockerfile lines.
        :param more: further lines of the file.
        :param changes: keys to set, beside a host name, a version, a base and a repository.
        """
        keys = {"hostname": "example", "version": "6", "os": BASE, "repo": self._repository} | changes
        lines = [f'{key} = "{value}"' for key, value in keys.items()]
        (self.directory / "server.toml").write_text("\n".join([*lines, f"userland = '''\n{userland}'''", more]))

    def words(self, *options: Argument) -> list[Argument]:
        """Return the command line."""
        return [_TERRA, "create", *options, self.directory / "server.toml"]

    def __call__(self, *options: Argument, accept: int = 0) -> tuple[str, str]:
        """Run it; return standard output and standard error."""
        done = run(self._network.command(self.words(*options)), env=self.environment, accept=(accept,), timeout=300)
        return done.text, done.stderr.decode()
