"""The fstab(5) of the next version of a system."""

from __future__ import annotations

from terra_core.image.contained import ContainedRoot
from terra_core.mounting import FSTAB
from terra_core.system.reading import lines_of

_LIMIT = 1 << 20


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
