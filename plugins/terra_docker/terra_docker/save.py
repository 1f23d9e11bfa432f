"""Reading an image of the engine: ``GET /images/get`` gives it in the format of ``docker save``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from docker import APIClient
from docker.errors import DockerException

from terra_core.building.saving import written_archive
from terra_core.errors import TerraError
from terra_core.oci.archive import DockerArchive
from terra_core.system.progress import Event, Report
from terra_docker.engine import connected
from terra_docker.settings import Docker


@contextmanager
def saved_image(image: str, work: Path, settings: Docker, report: Report) -> Iterator[DockerArchive]:
    """Save an image of the engine, to be read as long as the block lasts.

    :param image: its id, or a name.
    :param work: a directory with room for it.
    :raises TerraError: when the engine does not give it.
    """
    with connected(settings) as client:
        try:
            with saved(client, image, work, report) as archive:
                yield archive
        except (DockerException, requests.RequestException) as error:
            raise TerraError(f"{image}: the engine does not give the image: {error}") from error


@contextmanager
def saved(client: APIClient, image: str, work: Path, report: Report) -> Iterator[DockerArchive]:
    """Do the same with an engine that is connected; raises what its SDK raises."""

    def write(archive: Path) -> None:
        done = 0
        with archive.open("wb") as file:
            for piece in client.get_image(image):
                file.write(piece)
                done += len(piece)
                report(Event("save", "get the image from the engine", done))

    with written_archive(work, write) as archive:
        yield archive
