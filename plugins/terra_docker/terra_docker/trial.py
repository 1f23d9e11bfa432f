"""An image's whole system as a container, to see whether it comes up: https://systemd.io/CONTAINER_INTERFACE/."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from docker import APIClient
from docker.errors import APIError, DockerException, NotFound

from terra_core.errors import TerraError
from terra_core.hookspecs import Trial
from terra_core.system.progress import Event, Report
from terra_core.system.reading import lines_of
from terra_core.system.reasons import reason_of
from terra_core.system.signals import deferred
from terra_core.system.undo import Undo
from terra_core.system.waiting import WaitedInVain, wait_until
from terra_docker.build import LABEL
from terra_docker.engine import connected
from terra_docker.settings import Docker

_UNTIL = "terra.trial.until"
_SPARE_SECONDS = 600
_ENDED = ("running", "degraded", "maintenance", "stopping")
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
                return _watch(client, container, seconds, report)
        except APIError as error:
            raise TerraError(f"the image cannot be started as a container: {error.explanation or error}") from error
        except (DockerException, requests.RequestException) as error:
            raise TerraError(f"trying the image: the engine went away: {reason_of(error)}") from error


@contextmanager
def _container(client: APIClient, image: str, seconds: float) -> Iterator[str]:
    options = _UNIFIED if client.info().get("CgroupVersion") == "2" else _LEGACY
    host = client.create_host_config(network_mode="none", tmpfs=_MEMORY, **options)
    with deferred() as interrupt:  # the engine may have made it while its answer is still on the way
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


def _watch(client: APIClient, container: str, seconds: float, report: Report) -> Trial:
    seen = ""

    def state() -> str:
        nonlocal seen
        if not client.inspect_container(container)["State"]["Running"]:
            return "ended"
        found = _ask(client, container, "systemctl", "is-system-running").strip()
        if found != seen:
            seen = found
            report(Event("test", f"the system is {found or 'not up yet'}"))
        return found if found in _ENDED else ""

    try:
        found = wait_until(state, seconds=seconds, what="the system to come up", interval=1)
    except WaitedInVain:
        jobs = _ask(client, container, "systemctl", "list-jobs", "--no-legend", "--no-pager")
        return Trial(state="", errors=f"it waits for:\n{jobs}" if jobs.strip() else _log(client, container))
    if found == "ended":
        return Trial(state="", errors=_log(client, container))
    if found == "running":
        return Trial(state=found)
    failed = _ask(client, container, "systemctl", "list-units", "--failed", "--plain", "--no-legend", "--no-pager")
    words = ("journalctl", "--boot", "--priority", "err", "--quiet", "--no-pager", "--output", "short")
    errors = _ask(client, container, *words)
    return Trial(state=found, failed=tuple(line.strip() for line in lines_of(failed) if line.strip()), errors=errors.strip())


def _ask(client: APIClient, container: str, *words: str) -> str:
    """Return what a program in the container prints; nothing when it can't be run."""
    try:
        asked = client.exec_create(container, list(words), stderr=False)
        said = bytes(client.exec_start(asked["Id"])).decode(errors="replace")
        return "" if client.exec_inspect(asked["Id"])["ExitCode"] in _NOT_RUN else said
    except (APIError, NotFound):
        return ""


def _log(client: APIClient, container: str) -> str:
    return bytes(client.logs(container, tail=_LINES)).decode(errors="replace").strip()
