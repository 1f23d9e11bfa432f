"""A Docker Engine of our own: how one is started apart from the engine that the machine may have, and one for a single run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import docker
from attrs import frozen
from docker.errors import DockerException

from iso.daemons import start, wait_ready
from terra_core.errors import ConflictError
from terra_core.system.locks import try_lock
from terra_core.system.mounts import sweep
from terra_core.system.undo import Undo
from terra_core.system.workspace import discard, workspace

START_SECONDS = 60.0
STOP_SECONDS = 30.0
_PLACE = Path("/run")
"""Short, because a socket's path has 107 characters at most."""


@frozen(kw_only=True)
class Programs:
    """The command lines of dockerd and of its containerd; they make no bridge and no firewall rule.

    containerd is started beside dockerd, which would take the machine's own otherwise.

    :param data: the directory that keeps images between runs.
    :param place: an existing directory for sockets, configuration and state.
    :param insecure: registries that the engine talks to over plain HTTP.
    :param experimental: whether it does what Docker calls experimental, such as checkpoints.
    """

    data: Path
    place: Path
    insecure: Sequence[str] = ()
    experimental: bool = False

    @property
    def host(self) -> str:
        """The value of DOCKER_HOST: ``unix:///...``."""
        return f"unix://{self.place / 'docker.sock'}"

    @property
    def root(self) -> Path:
        """The data directory of dockerd itself."""
        return self.data / "docker"

    @property
    def dockerd_log(self) -> Path:
        """The file that dockerd's output goes to."""
        return self.data / "dockerd.log"

    @property
    def containerd_log(self) -> Path:
        """The file that containerd's output goes to."""
        return self.data / "containerd.log"

    @property
    def containerd_socket(self) -> Path:
        """Where containerd listens."""
        return self.place / "containerd.sock"

    def containerd(self) -> list[str]:
        """Write containerd's configuration, and return its command line."""
        configuration = self.place / "containerd.toml"
        configuration.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
        return [
            *("containerd", "--config", str(configuration), "--address", str(self.containerd_socket)),
            *("--root", str(self.data / "containerd"), "--state", str(self.place / "containerd")),
        ]

    def dockerd(self) -> list[str]:
        """Write dockerd's configuration, so that it does not read the machine's own, and return its command line."""
        configuration = self.place / "daemon.json"
        configuration.write_text(json.dumps({"experimental": self.experimental}))
        return [
            *("dockerd", "--config-file", str(configuration), "--containerd", str(self.containerd_socket)),
            *("--data-root", str(self.root), "--exec-root", str(self.place / "docker")),
            *("--host", self.host, "--pidfile", str(self.place / "docker.pid")),
            *("--bridge=none", "--iptables=false", "--ip-forward=false", "--ip-masq=false"),
            *(f"--insecure-registry={address}" for address in self.insecure),
        ]


@contextmanager
def temporary_engine(data: Path) -> Iterator[str]:
    """Start an engine for as long as the block lasts, and give what DOCKER_HOST has to be for it.

    :param data: the directory that keeps its images and logs between runs.
    :raises ConflictError: when another process has an engine there.
    :raises TerraError: when it does not start, with the end of its log.
    """
    data = data.resolve()
    data.mkdir(parents=True, exist_ok=True)
    with Undo() as undo:
        lock = undo.enter_context((data / ".lock").open("ab"))
        if not try_lock(lock.fileno()):
            raise ConflictError(f"another engine uses {data}", hint="wait until the other run has ended")
        undo.callback(sweep, data, data)
        programs = Programs(data=data, place=undo.enter_context(workspace("terra-engine-", place=_PLACE, remove=_take_down)))
        containerd = start(programs.containerd(), log=programs.containerd_log)
        undo.callback(containerd.stop, STOP_SECONDS)
        wait_ready(containerd, programs.containerd_socket.is_socket, seconds=START_SECONDS, what="containerd to listen")
        dockerd = start(programs.dockerd(), log=programs.dockerd_log)
        undo.callback(dockerd.stop, STOP_SECONDS)
        wait_ready(dockerd, lambda: answers(programs.host), seconds=START_SECONDS, what=f"dockerd to answer on {programs.host}")
        yield programs.host


def answers(host: str) -> bool:
    """Return whether an engine answers.

    :param host: what DOCKER_HOST has to be for it.
    """
    try:
        with closing(docker.DockerClient(base_url=host, timeout=5)) as client:
            return bool(client.ping())
    except DockerException:
        return False


def _take_down(place: Path) -> None:
    sweep(place, place)
    discard(place)
