"""A small site in one network: an engine, a registry and a controller, with the commands of Terra at hand."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

from lab.daemons import start, wait_ready
from lab.engine import Engine
from lab.network import CONTROLLER, GATEWAY, ISCSI, Network
from lab.place import ROOT, hold
from lab.registry import Registry
from terra_core.config.controller import API_PORT, Places
from terra_core.errors import TerraError
from terra_core.service.tokens import read_token
from terra_core.system.mounts import sweep
from terra_core.system.process import Argument, Completed, Daemon, run

LEASES = ("10.0.10.50", "10.0.10.99")
"""The first and the last address that the site's machines get."""

START = ("--debug", "--controller", CONTROLLER, "controller", "--gateway", GATEWAY, "--iscsi", ISCSI)
"""The words of the command line that starts a controller, as its unit has them."""

_ROOTS = Path("/var/lib/terra-lab")
_CONFIG = f"""\
[docker]
  insecure = ["{CONTROLLER}:5000"]

[tftp]
  dhcp = "server"
  range = ["{LEASES[0]}", "{LEASES[1]}"]

[iscsi]
  domain = "terra.example"
"""


class Site:
    """A network with an engine, a registry and a controller; leaving takes all of it down.

    :param build: the directory that keeps the engine's and the registry's images between runs.
    :param root: the controller's root, emptied at the start and removed at the end; every user has to be able to pass the
        directories above it. One below /var/lib/terra-lab when left out.
    :param label: a word for the names of the network and of that root; one site of a label at a time.
    :param config: controller.toml; one for the site's registry and DHCP when left out.
    """

    def __init__(self, build: Path, root: Path | None = None, *, label: str = "site", config: str = _CONFIG) -> None:
        self.root = (root or _ROOTS / label).resolve()
        self.network = Network(label)
        self.engine = Engine(build / "engine", self.network)
        self.registry = Registry(self.network, build / "registry")
        self.controller: Daemon | None = None
        self._config = config
        self._resources = ExitStack()

    @property
    def places(self) -> Places:
        """Where the controller keeps what it owns."""
        return Places(self.root)

    @property
    def leases(self) -> Path:
        """What the boot service's DHCP server has given out."""
        return self.places.state / "dnsmasq.leases"

    @property
    def log(self) -> Path:
        """What the controller says."""
        return self.root / "controller.log"

    def __enter__(self) -> Self:
        with ExitStack() as resources:
            resources.enter_context(self.network)
            if not hold(resources, ROOT / f".root{str(self.root).replace('/', '-')}"):
                raise TerraError(f"{self.root}: another site is up there", hint="wait until it is down, or take another label")
            if self.root.exists():  # of a run that was killed; what it had running went when the network came
                sweep(self.root, self.root)
                shutil.rmtree(self.root)
            self.places.etc.mkdir(parents=True)
            self.root.chmod(0o755)
            resources.callback(self._remove_root)
            (self.places.etc / "controller.toml").write_text(self._config)
            resources.enter_context(self.engine)
            resources.enter_context(self.registry)
            resources.callback(self.stop_services)
            self.start_controller()
            resources.callback(self.stop_controller)
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        self._resources.close()

    def start_controller(self) -> None:
        """Start the controller as its unit does, and wait until it answers."""
        command = self.network.command([terra_command(), *START, "--root", self.root])
        self.controller = start(command, log=self.log)
        wait_ready(self.controller, self._answers, seconds=60, what=f"the controller to answer on {CONTROLLER}:{API_PORT}")

    def stop_controller(self) -> None:
        """End the controller; its storage and boot services go on."""
        if self.controller is not None:
            self.controller.stop(30)

    def stop_services(self) -> None:
        """Stop what outlives the controller."""
        self.command(["controller", "--stop", "--root", self.root], timeout=60)

    def environment(self) -> dict[str, str]:
        """What a shell needs so that ``terra`` there speaks to this site."""
        return {"TERRA_CONTROLLER": CONTROLLER, "TERRA_TOKEN": read_token(self.places.token), "DOCKER_HOST": self.engine.host}

    def command(
        self, words: Sequence[Argument], *, timeout: float = 900, accept: Sequence[int] = (0,), shown: bool = False
    ) -> Completed:
        """Run ``terra`` in the network to its end.

        :param shown: let its progress go to this process's standard error.
        """
        args = self.network.command([terra_command(), *words])
        return run(args, timeout=timeout, accept=accept, env=self.environment(), shown=shown)

    def _remove_root(self) -> None:
        shutil.rmtree(self.root)
        with suppress(OSError):  # another site is there
            _ROOTS.rmdir()

    def _answers(self) -> bool:
        with self.network.connect(CONTROLLER, API_PORT, timeout=2) as connection:
            connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            return connection.recv(1024).split()[1:2] == [b"200"]


def terra_command() -> Path:
    """The ``terra`` command of this virtual environment."""
    return Path(sys.executable).parent / "terra"
