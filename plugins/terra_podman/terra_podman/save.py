"""Reading an image of Podman's storage: ``podman save`` writes it as ``docker save`` does.

That form has the layers as they were hashed, neither compressed nor converted, and the very configuration that the image's id
is the digest of. An OCI layout of podman's would have both made anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from terra_core.errors import CommandError, TerraError
from terra_core.oci.archive import DockerArchive
from terra_core.system.progress import Event, Report
from terra_core.system.undo import Undo
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
    podman, incoming = found(settings), work / "incoming.tar"
    with Undo() as undo:
        undo.callback(incoming.unlink, missing_ok=True)
        report(Event("save", "get the image from podman"))
        words = ("save", "--quiet", "--format=docker-archive", f"--output={incoming}", image.removeprefix("sha256:"))
        try:
            podman.run(*words, timeout=_SAVE_SECONDS)
        except CommandError as error:
            raise TerraError(f"{image}: podman does not give the image: {last_words(error)}") from error
        with DockerArchive(incoming) as archive:
            yield archive
