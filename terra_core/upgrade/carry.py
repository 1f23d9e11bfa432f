"""Taking over files of the version that runs into the next one, whatever links either has."""

from __future__ import annotations

import os
from collections.abc import Iterable

from terra_core.errors import TerraError
from terra_core.image.contained import ContainedRoot
from terra_core.image.removal import remove
from terra_core.mounting import FSTAB
from terra_core.system.process import run
from terra_core.system.reading import lines_of

_COPY_SECONDS = 3600
_LIMIT = 1 << 20


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


def fstab_for(former: ContainedRoot, running: str, version: str) -> bytes:
    """Return the fstab(5) of a root with the options of ``/`` naming another root.

    :param running: the name that its options have.
    :param version: the name that they get.
    """
    content = former.read_small(FSTAB, limit=_LIMIT).decode(errors="surrogateescape")
    lines = [_renamed(line, running, version) for line in lines_of(content)]
    return "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")


def _renamed(line: str, running: str, version: str) -> str:
    fields = line.split()
    if len(fields) < 4 or fields[0].startswith("#") or fields[1] != "/":
        return line
    options = (
        option.removesuffix(running) + version if option.endswith((f"=/{running}", f"={running}")) else option
        for option in fields[3].split(",")
    )
    return " ".join([*fields[:3], ",".join(options), *fields[4:]])
