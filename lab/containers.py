"""Checks for every engine of the lab: that it leaves no container, process or mount, and where needed no image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import docker

from lab.mounts import mounts_below, unmount_below
from lab.processes import end, mentioning
from terra_core.errors import TerraError


@contextmanager
def nothing_left(client: docker.DockerClient) -> Iterator[None]:
    """Expect the engine to have the same images and containers afterwards."""

    def everything() -> tuple[set[str], set[str]]:
        images = {image["Id"] for image in client.api.images(all=True)}
        return images, {container["Id"] for container in client.api.containers(all=True)}

    before = everything()
    yield
    after = everything()
    if after != before:
        raise TerraError(f"images and containers of the engine before: {before}, and after: {after}")


def expect_no_containers(client: docker.DockerClient, engine: str) -> None:
    """Report containers, after removing them; closes the client.

    :param engine: its name in the report.
    """
    with closing(client):
        left = client.containers.list(all=True)
        for container in left:
            container.remove(force=True)
    if left:
        names = ", ".join(str(container.name) for container in left)
        raise TerraError(f"containers were left in {engine}, and are removed now: {names}")


def expect_nothing_left(directories: Sequence[Path], engine: str, *, stays: Callable[[str], bool]) -> None:
    """Report processes and mounts of an engine that has ended, after taking them away.

    :param directories: its own.
    :param stays: the mounts that it never removes itself.
    """
    processes = mentioning(directories)
    end(processes)
    points = [point for directory in directories for point in mounts_below(directory) if not stays(point)]
    for directory in directories:
        unmount_below(directory)
    left = [f"process {process.pid} ({process.command})" for process in processes]
    left += [f"mount {point}" for point in points]
    if left:
        raise TerraError(f"{engine} left behind, until they were taken away now: {', '.join(left)}")
