"""Where the agent keeps what it owns, and its configuration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attrs import evolve, frozen

from terra_core.config.controller import Paths, Tls
from terra_core.config.problems import DocumentError
from terra_core.config.structure import Problem, has
from terra_core.config.values import Address
from terra_orbit import API_PORT


@frozen
class OrbitPaths:
    """The paths of what the agent owns.

    :param paths: those of the whole root; the token below it is the machine's, and the controller's too.
    """

    paths: Paths

    @property
    def state(self) -> Path:
        """The directory of what must survive a restart."""
        return self.paths.state / "orbit"

    @property
    def run(self) -> Path:
        """Sockets, gone after a reboot."""
        return self.paths.run / "orbit"

    @property
    def database(self) -> str:
        """The URL of the database."""
        return f"sqlite:///{(self.state / 'orbit.db').absolute()}"

    @property
    def pools(self) -> Path:
        """Which addresses the networks have given."""
        return self.state / "networks"

    @property
    def configs(self) -> Path:
        """The files that containers are given."""
        return self.state / "configs"

    @property
    def bridges(self) -> Path:
        """The names of the bridges that were made for networks."""
        return self.run / "bridges"

    @property
    def dhcp(self) -> Path:
        """The socket of the DHCP daemon."""
        return self.run / "dhcp.sock"


@frozen(kw_only=True)
class Settings:
    """orbit.toml; an option of ``orbit-server`` wins over its key here.

    :param address: the address that the API answers on.
    :param port: its port.
    :param engine: where the engine listens, such as ``unix:///run/podman/podman.sock``; DOCKER_HOST or Docker's usual
        place when left out.
    :param jobs: how many containers are changed at once.
    :param tls: certificate and key of the API.
    """

    address: Address = Address("127.0.0.1")
    port: int = API_PORT
    engine: str | None = None
    jobs: int = 8
    tls: Tls | None = None

    def overridden(self, **options: object) -> Settings:
        """Return the same configuration, with every option that is not ``None`` in place of its key.

        :raises ConfigError: when an option is not what it has to be.
        """
        changed = evolve(self, **{name: value for name, value in options.items() if value is not None})  # type: ignore[arg-type]  # each option has the type of its key
        problems = list(changed.problems())
        if problems:
            raise DocumentError("options", problems)
        return changed

    def problems(self) -> Iterator[Problem]:
        """Yield what is wrong with the values."""
        if has(self, "port") and not 0 < self.port < 65536:
            yield Problem("port", f"expected a port from 1 to 65535, got {self.port}")
        if has(self, "jobs") and not 0 < self.jobs <= 64:
            yield Problem("jobs", f"expected from 1 to 64, got {self.jobs}")
        if getattr(self, "engine", None) is not None and not str(self.engine).startswith("unix://"):
            yield Problem("engine", 'expected the socket of an engine on this machine, such as "unix:///run/docker.sock"')
