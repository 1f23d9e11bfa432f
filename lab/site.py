"""A small site in one network: an engine, a registry and a controller, with the commands of Terra at hand."""

from __future__ import annotations

import shutil
import ssl
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from iso.daemons import start, wait_ready
from lab.engine import Engine
from lab.network import CONTROLLER, GATEWAY, ISCSI, Network
from lab.registry import Registry
from lab.shelf import Shelf
from terra_core.config.controller import API_PORT, Paths
from terra_core.errors import TerraError
from terra_core.service.tokens import read_token
from terra_core.system.mounts import sweep
from terra_core.system.process import Argument, Completed, Daemon, run
from terra_core.system.undo import Undo
from terra_core.system.workspace import discard, workspace

LEASES = ("10.0.10.50", "10.0.10.99")
"""The first and the last address that the site's machines get."""

START = ("--debug", "--controller", CONTROLLER, "controller", "--gateway", GATEWAY, "--iscsi", ISCSI)
"""The words of the command line that starts a controller, as its unit has them."""

_YOUNG_SECONDS = 10.0
_ROOT = Path(__file__).parents[1]
CONFIG_OF_DHCP = f"""\
[tftp]
  dhcp = "server"
  range = ["{LEASES[0]}", "{LEASES[1]}"]
"""
"""The part of a controller.toml that lets it give out the addresses of machines."""

CONFIG_OF_NETWORK = f"""\
[docker]
  insecure = ["{CONTROLLER}:5000"]

{CONFIG_OF_DHCP}"""
"""The part of a site's controller.toml that is about its own registry and its own DHCP."""

CONFIG = f"""\
{CONFIG_OF_NETWORK}
[iscsi]
  domain = "terra.example"
"""
"""The controller.toml of a site."""


class Site:
    """A network with an engine, a registry and a controller; leaving takes all of it down.

    :param build: the directory that keeps the engine's and the registry's images between runs; see :class:`lab.shelf.Shelf`.
    :param root: the controller's root, which is removed at the end; every user has to be able to pass the directories above
        it. A new one where large work goes when left out; those of sites that were killed are removed then.
    :param label: a word for the name of the network.
    :param config: controller.toml; one for the site's registry and DHCP when left out.
    :param plugins: a directory with further plugins, as ``pip install --target`` fills it.
    :param database: the URL of an empty database for the controller's state; a SQLite file of its own when left out.

    The controller has the capabilities that its unit gives it, and no others.
    """

    def __init__(
        self,
        build: Path,
        root: Path | None = None,
        *,
        label: str = "site",
        config: str = CONFIG,
        plugins: Path | None = None,
        database: str | None = None,
    ) -> None:
        self.network = Network(label)
        self._shelf = Shelf(build)
        self._given_root = root
        self.controller: Daemon | None = None
        self._root: Path | None = None
        self._config = config if database is None else f'database = "{database}"\n{config}'
        self._database = database
        self._plugins = {"PYTHONPATH": str(plugins)} if plugins else {}
        self._resources = Undo()

    @property
    def root(self) -> Path:
        """The controller's root."""
        if self._root is None:
            raise RuntimeError("the site was not entered")
        return self._root

    @property
    def directory(self) -> Path:
        """Where this site alone keeps what is to be there after its end, such as logs."""
        return self._shelf.path

    @property
    def paths(self) -> Paths:
        """Where the controller keeps what it owns."""
        return Paths(self.root)

    @property
    def database(self) -> str:
        """The URL of the controller's database."""
        return self._database or f"sqlite:///{self.paths.state / 'terra.db'}"

    @property
    def leases(self) -> Path:
        """The file of the leases of the boot service's DHCP server."""
        return self.paths.state / "dnsmasq.leases"

    @property
    def log(self) -> Path:
        """The file of the controller's output."""
        return self.root / "controller.log"

    def __enter__(self) -> Self:
        with Undo() as resources:
            resources.enter_context(self.network)
            self._root = self._make_root(resources)
            self.paths.etc.mkdir(parents=True)
            (self.paths.etc / "controller.toml").write_text(self._config)
            resources.enter_context(self._shelf)
            self.engine = resources.enter_context(Engine(self.directory / "engine", self.network))
            self.registry = resources.enter_context(Registry(self.network, self.directory / "registry"))
            resources.callback(self.stop_services)
            self.start_controller()
            resources.callback(self.stop_controller)
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        self._resources.unwind(failure)

    def start_controller(self) -> None:
        """Start the controller as its unit does, and wait until it answers."""
        command = self.network.command([*confined(), terra_command(), *START, "--root", self.root])
        self.controller = start(command, log=self.log, env=self._plugins)
        wait_ready(self.controller, self._answers, seconds=60, what=f"the controller to answer on {CONTROLLER}:{API_PORT}")

    def stop_controller(self) -> None:
        """End the controller; its storage and boot services go on."""
        if self.controller is not None:
            self.controller.stop(30)

    def stop_services(self) -> None:
        """Stop what outlives the controller."""
        self.command(["controller", "--stop", "--root", self.root], timeout=60)

    def environment(self) -> dict[str, str]:
        """Return the environment that a shell needs so that ``terra`` there speaks to this site."""
        token = read_token(self.paths.token)
        own = {"TERRA_CONTROLLER": CONTROLLER, "TERRA_TOKEN": token, "DOCKER_HOST": self.engine.host}
        by_tls = {"TERRA_CA": str(self.paths.authority)} if self.paths.authority.exists() else {}
        return {**own, **by_tls, **self._plugins}

    def command(
        self, words: Sequence[Argument], *, timeout: float = 900, accept: Sequence[int] = (0,), shown: bool = False
    ) -> Completed:
        """Run ``terra`` in the network to its end.

        :param shown: let its progress go to this process's standard error.
        """
        args = self.network.command([terra_command(), *words])
        return run(args, timeout=timeout, accept=accept, env=self.environment(), shown=shown)

    def _make_root(self, resources: Undo) -> Path:
        if self._given_root is None:
            root = resources.enter_context(workspace("terra-site-", grace=_YOUNG_SECONDS, remove=_remove))
        else:
            root = self._given_root.resolve()
            root.mkdir(parents=True)
        root.chmod(0o755)
        resources.callback(shutil.rmtree, root)  # which fails where something is still mounted
        return root

    def _answers(self) -> bool:
        with Undo() as opened:
            connection = opened.enter_context(self.network.connect(CONTROLLER, API_PORT, timeout=2))
            if self.paths.authority.exists():
                context = ssl.create_default_context(cafile=str(self.paths.authority))
                connection = opened.enter_context(context.wrap_socket(connection, server_hostname=CONTROLLER))
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            return connection.recv(1024).split()[1:2] == [b"200"]


def _remove(root: Path) -> None:
    """Remove a root, be it of a site that was killed; what it had running went when the next network came."""
    with suppress(TerraError):  # somebody else holds a loop device
        sweep(root, root)
    discard(root)


def confined() -> tuple[str, ...]:
    """Return the words in front of a command line that confine a program to the capabilities of the controller's unit."""
    lines = (line.partition("=") for line in (_ROOT / "systemd/controller.service").read_text().splitlines())
    names = " ".join(value for key, _, value in lines if key == "CapabilityBoundingSet").lower().split()
    given = ",".join(f"+{name.removeprefix('cap_')}" for name in names)
    return ("setpriv", "--no-new-privs", f"--bounding-set=-all,{given}", "--")


def terra_command() -> Path:
    """Return the ``terra`` command of this virtual environment."""
    return Path(sys.executable).parent / "terra"
