"""Reading an image of Podman's storage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from terra_core.building.saving import written_archive
from terra_core.errors import CommandError, TerraError
from terra_core.oci.archive import DockerArchive
from terra_core.system.progress import Event, Report
from terra_podman.program import found, last_words
from terra_podman.settings import Podman

_SAVE_SECONDS = 3600


@contextmanager
def saved_image(image: str, work: Path, settings: Podman, report: Report) -> Iterator[DockerArchive]:
    """Save an image of the storage, to be read as long as the block lasts.

    :param image: its id.
    :param work: a directory with room for it.
    :raises TerraError: when podman does not give it.
    """
    podman = found(settings)

    def write(archive: Path) -> None:
        report(Event("save", "get the image from podman"))
        words = ("save", "--quiet", "--format=docker-archive", f"--output={archive}", image.removeprefix("sha256:"))
        try:
            podman.run(*words, timeout=_SAVE_SECONDS)
        except CommandError as error:
            raise TerraError(f"{image}: podman does not give the image: {last_words(error)}") from error

    with written_archive(work, write) as archive:
        yield archive
