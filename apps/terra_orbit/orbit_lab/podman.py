"""A Podman of the lab's own, that speaks as a Docker Engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import docker

from iso.daemons import start, wait_ready
from iso.engine import answers
from lab.containers import expect_no_containers, expect_nothing_left
from lab.network import CONTROLLER, Network
from lab.place import Place
from terra_core.system.process import Argument, run
from terra_core.system.undo import Undo

_START = 60.0
_STOP = 30.0
_SETTINGS = """\
[containers]
log_driver = "k8s-file"
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]

[engine]
exit_command_delay = 1
"""
"""Limits that a root without the right to raise any can have, and no five minutes of waiting for the programs of exec."""


class Podman:
    """``podman system service``, with images, containers and settings apart from those that the host may have.

    Leaving ends it with its containers, and reports those, and processes and mounts, that were left.

    :param data: the directory that keeps its images; must be on a file system that overlay mounts can lie on.
    :param network: where it runs.
    :param insecure: the registry that it talks to over plain HTTP.
    """

    def __init__(self, data: Path, network: Network, *, insecure: str = f"{CONTROLLER}:5000") -> None:
        self._data = data.resolve()
        self._network = network
        self._insecure = insecure
        self._place = Place("podman")
        self._resources = Undo()

    @property
    def host(self) -> str:
        """The value of DOCKER_HOST: ``unix:///...``."""
        return f"unix://{self._place.path / 'podman.sock'}"

    @property
    def _temporary(self) -> Path:
        return self._data / "tmp"

    def __enter__(self) -> Self:
        self._temporary.mkdir(parents=True, exist_ok=True)
        with Undo() as resources:
            resources.enter_context(self._place)
            self._place.claim(self._data)
            resources.callback(self._expect_nothing_left)
            registries = f'[[registry]]\nlocation = "{self._insecure}"\ninsecure = true\n'
            (self._place.path / "registries.conf").write_text(registries)
            (self._place.path / "containers.conf").write_text(_SETTINGS)
            daemon = start(
                self._network.command(self._words("system", "service", "--time", "0", self.host)),
                log=self._data / "podman.log",
                env=self._environment(),
            )
            resources.callback(daemon.stop, _STOP)
            wait_ready(daemon, lambda: answers(self.host), seconds=_START, what=f"Podman to answer on {self.host}")
            resources.callback(lambda: expect_no_containers(self.client(), "Podman"))
            self._resources = resources.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        self._resources.unwind(failure)

    def client(self) -> docker.DockerClient:
        """Return a client of the docker SDK; the caller closes it."""
        return docker.DockerClient(base_url=self.host, timeout=120)

    def import_image(self, tar: Path, reference: str, changes: Sequence[str] = ()) -> None:
        """Make an image of a root file system's tar."""
        options = [word for change in changes for word in ("--change", change)]
        run(self._network.command(self._words("import", *options, tar, reference)), env=self._environment(), timeout=120)

    def _words(self, *words: Argument) -> list[Argument]:
        run_root = self._place.path / "run"
        return [
            *("podman", "--root", self._data / "storage", "--runroot", run_root, "--tmpdir", self._place.path / "tmp"),
            *("--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--runtime", "runc", "--events-backend", "file"),
            *("--network-config-dir", self._place.path / "networks", *words),
        ]

    def _environment(self) -> dict[str, str]:
        names = {"CONTAINERS_REGISTRIES_CONF": "registries.conf", "CONTAINERS_CONF": "containers.conf"}
        # It leaves a file behind whenever it pushes.
        return {name: str(self._place.path / file) for name, file in names.items()} | {"TMPDIR": str(self._temporary)}

    def _expect_nothing_left(self) -> None:
        own = str(self._data / "storage/overlay")  # its mount of its own storage outlives it, by design
        expect_nothing_left([self._place.path, self._data], "Podman", stays=lambda point: point == own)
