"""An image's whole system as a container, to see whether it comes up: podman-run(1), ``--systemd``."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from terra_core.building.watch import Container, watched
from terra_core.errors import CommandError, TerraError
from terra_core.hookspecs import Trial
from terra_core.system.process import uninterrupted
from terra_core.system.progress import Report
from terra_core.system.undo import Undo
from terra_podman.build import LABEL
from terra_podman.program import Program, found, last_words
from terra_podman.settings import Podman

_UNTIL = "terra.trial.until"
_SPARE_SECONDS = 600
_OPTIONS = (
    "--systemd=always", "--network=none", "--cap-add=SYS_ADMIN,NET_ADMIN", "--security-opt=seccomp=unconfined",
    "--security-opt=apparmor=unconfined", "--log-driver=k8s-file", "--pull=never",
)  # fmt: skip


def try_image(image: str, seconds: float, settings: Podman, report: Report) -> Trial:
    """Start an image's init in a container of its own and see how the system does.

    It may mount, as systemd has to, and has no network but its own loopback.

    :param image: its id.
    :param seconds: how long it may take.
    :raises TerraError: when podman can't start it.
    """
    podman = found(settings)
    _sweep(podman)
    with _container(podman, image, seconds) as name:
        return watched(Container(partial(podman.run, accept=range(256)), name), seconds, report)


@contextmanager
def _container(podman: Program, image: str, seconds: float) -> Iterator[str]:
    name = f"terra-trial-{secrets.token_hex(6)}"
    labels = (f"--label={LABEL}=trial", f"--label={_UNTIL}={int(time.time() + seconds + _SPARE_SECONDS)}")
    with Undo() as undo:
        undo.callback(_remove, podman, name)  # it may be there before we hear of it
        try:
            podman.run("run", "--detach", f"--name={name}", *labels, *_OPTIONS, image.removeprefix("sha256:"))
        except CommandError as error:
            raise TerraError(f"the image cannot be started as a container: {last_words(error)}") from error
        yield name


def _remove(podman: Program, name: str) -> None:
    with uninterrupted():
        podman.run("rm", "--force", "--ignore", "--time=0", "--volumes", name)


def _sweep(podman: Program) -> None:
    """Remove what trials left that were killed."""
    for container in podman.json("ps", "--all", f"--filter=label={_UNTIL}"):
        until = str((container.get("Labels") or {}).get(_UNTIL, ""))
        if until.isdigit() and int(until) < time.time():
            _remove(podman, str(container["Id"]))
