"""Reading an image in the form of ``docker save``, which podman and nerdctl write too.

That form has the layers as they were hashed, neither compressed nor converted, and the very configuration that the image's id
is the digest of. An OCI layout has both made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from terra_core.oci.archive import DockerArchive
from terra_core.system.undo import Undo


@contextmanager
def written_archive(work: Path, write: Callable[[Path], object]) -> Iterator[DockerArchive]:
    """Have an image written to a file, and offer it to be read as long as the block lasts.

    :param work: a directory with room for it; it is left as it was.
    :param write: writes the image to the path that it is given.
    :raises TerraError: when what was written is no image.
    """
    incoming = work / "incoming.tar"
    with Undo() as undo:
        undo.callback(incoming.unlink, missing_ok=True)
        write(incoming)
        with DockerArchive(incoming) as archive:
            yield archive
