"""An image's whole system as a container, to see whether it comes up: https://systemd.io/CONTAINER_INTERFACE/."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from attrs import frozen
from docker import APIClient
from docker.errors import APIError, DockerException, NotFound

from terra_core.building.watch import watched
from terra_core.errors import TerraError
from terra_core.hookspecs import Trial
from terra_core.system.progress import Report
from terra_core.system.reasons import reason_of
from terra_core.system.signals import deferred
from terra_core.system.undo import Undo
from terra_docker.build import LABEL
from terra_docker.engine import connected
from terra_docker.settings import Docker

_UNTIL = "terra.trial.until"
_SPARE_SECONDS = 600
_CGROUPS = "/sys/fs/cgroup"
# With control groups of version 2, only a privileged container may write to those of its own.
_UNIFIED: dict[str, Any] = {"privileged": True, "cgroupns": "private"}
# With version 1, systemd writes to the hierarchy "name=systemd", where the engine's machine has mounted it.
_LEGACY: dict[str, Any] = {
    "cap_add": ["SYS_ADMIN", "NET_ADMIN"],
    "security_opt": ["seccomp=unconfined", "apparmor=unconfined"],
    "binds": {_CGROUPS: {"bind": _CGROUPS, "mode": "ro"}},
}
_LINES = 40
_NOT_RUN = (126, 127)
_MEMORY = {"/run": "exec,mode=755", "/run/lock": ""}


def try_image(image: str, seconds: float, settings: Docker, report: Report) -> Trial:
    """Start an image's init in a container of its own and see how the system does.

    It may mount, as systemd has to, and has no network but its own loopback.

    :param image: its id.
    :param seconds: how long it may take.
    :raises TerraError: when the engine can't start it.
    """
    with connected(settings) as client:
        try:
            _sweep(client)
            with _container(client, image, seconds) as container:
                return watched(_Container(client, container), seconds, report)
        except APIError as error:
            raise TerraError(f"the image cannot be started as a container: {error.explanation or error}") from error
        except (DockerException, requests.RequestException) as error:
            raise TerraError(f"trying the image: the engine went away: {reason_of(error)}") from error


@contextmanager
def _container(client: APIClient, image: str, seconds: float) -> Iterator[str]:
    options = _UNIFIED if client.info().get("CgroupVersion") == "2" else _LEGACY
    host = client.create_host_config(network_mode="none", tmpfs=_MEMORY, **options)
    with deferred() as interrupt:  # an interruption could come between the engine's work and its answer
        made = client.create_container(
            image,
            environment={"container": "docker"},
            host_config=host,
            labels={LABEL: "trial", _UNTIL: str(int(time.time() + seconds + _SPARE_SECONDS))},
            stop_signal="SIGRTMIN+3",
        )
    name = str(made["Id"])
    with Undo() as undo:
        undo.callback(client.remove_container, name, force=True, v=True)
        interrupt()
        client.start(name)
        yield name


def _sweep(client: APIClient) -> None:
    """Remove what trials left that were killed."""
    for container in client.containers(all=True, filters={"label": [_UNTIL]}):
        until = container.get("Labels", {}).get(_UNTIL, "")
        if until.isdigit() and int(until) < time.time():
            client.remove_container(container["Id"], force=True, v=True)


@frozen
class _Container:
    """A container of the engine, as a system that is watched."""

    client: APIClient
    name: str

    def alive(self) -> bool:
        """Return whether its init still runs."""
        return bool(self.client.inspect_container(self.name)["State"]["Running"])

    def ask(self, *words: str) -> str:
        """Return what a program in the container prints; nothing when it can't be run."""
        try:
            asked = self.client.exec_create(self.name, list(words), stderr=False)
            said = bytes(self.client.exec_start(asked["Id"])).decode(errors="replace")
            return "" if self.client.exec_inspect(asked["Id"])["ExitCode"] in _NOT_RUN else said
        except (APIError, NotFound):
            return ""

    def log(self) -> str:
        """Return the end of what its init printed."""
        return bytes(self.client.logs(self.name, tail=_LINES)).decode(errors="replace").strip()
