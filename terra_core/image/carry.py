"""Taking over files of a root into another one, whatever links either has."""

from __future__ import annotations

import os
from collections.abc import Iterable

from terra_core.errors import TerraError
from terra_core.image.contained import ContainedRoot
from terra_core.image.removal import remove
from terra_core.system.process import run

_COPY_SECONDS = 3600


def carry(paths: Iterable[str], former: ContainedRoot, new: ContainedRoot) -> None:
    """Put files and directories of a root in the place of those of another, with all that they are.

    What the former root does not have, the new one has not either then.

    :param paths: without a leading slash.
    :raises TerraError: naming what cannot be copied.
    """
    for path in paths:
        directory, _, name = path.rpartition("/")
        found = former.look(path, follow=False) is not None
        if not found and new.look(path, follow=False) is None:
            continue
        with new.opened(directory, make=True) as to:
            if not remove(to, os.fsencode(name)):
                raise TerraError(f"/{path} of the new version cannot be replaced: something is mounted there")
            if found:
                with former.opened(directory) as source:
                    # By the descriptors: no name above the last one is looked up again, and cp follows no link below.
                    places = [f"/proc/{os.getpid()}/fd/{descriptor}/{name}" for descriptor in (source, to)]
                    run(["cp", "--archive", "--reflink=auto", "--no-target-directory", *places], timeout=_COPY_SECONDS)
