"""What this machine itself shows of a controller's work: read by ``terra doctor``, and by nothing that does such work.

The controller finds its processes, mounts and devices by other modules, so that a fault in those cannot hide itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from attrs import frozen

_UNFINISHED = re.compile(r"\..+\.new")
_ESCAPED = re.compile(rb"\\([0-7]{3})")
_LOOPS = Path("/sys/block")


@frozen
class Seen:
    """A process that runs.

    :param pid: its id.
    :param arguments: its command line.
    """

    pid: int
    arguments: tuple[str, ...]

    def open_files(self) -> set[tuple[int, int]]:
        """Return device and inode of each file that it has open."""
        found = set()
        for link in _listed(Path(f"/proc/{self.pid}/fd")):
            with suppress(OSError):
                status = link.stat()
                found.add((status.st_dev, status.st_ino))
        return found


def processes(program: str) -> Iterator[Seen]:
    """Yield every process of a program, by its name as the kernel has it; zombies and those in containers are left out."""
    for place in _listed(Path("/proc")):
        if not place.name.isdigit():
            continue
        with suppress(OSError):
            if (place / "comm").read_text(errors="replace").strip() != program[:15]:
                continue
            if (place / "ns/pid").readlink() != Path("/proc/self/ns/pid").readlink():
                continue
            words = (place / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
            if words != [b""]:  # a zombie has none
                yield Seen(int(place.name), tuple(os.fsdecode(word) for word in words))


def mounts_below(directory: Path, pids: Sequence[int] = ()) -> set[Path]:
    """Return what is mounted below a directory.

    :param pids: processes whose threads may have mounts of their own, beside those of this process.
    """
    lists = [Path("/proc/self/mounts"), *(path for pid in pids for path in Path(f"/proc/{pid}/task").glob("*/mounts"))]
    found = set()
    for path in lists:
        with suppress(OSError):
            for line in path.read_bytes().split(b"\n"):
                words = line.split(b" ")
                if len(words) > 1:
                    name = _ESCAPED.sub(lambda octal: bytes([int(octal[1], 8)]), words[1])
                    found.add(Path(os.fsdecode(name)))
    return {path for path in found if directory in path.parents}


def loop_devices_below(directory: Path) -> dict[str, Path]:
    """Return the loop devices of files below a directory, each with its file, by what the kernel shows of them (sysfs)."""
    found = {}
    for place in _listed(_LOOPS):
        with suppress(OSError):
            if place.name.startswith("loop"):
                file = Path((place / "loop/backing_file").read_text(errors="surrogateescape").removesuffix("\n"))
                if directory in file.parents:
                    found[f"/dev/{place.name}"] = file
    return found


def unfinished_files(directory: Path) -> Iterator[Path]:
    """Yield what killed processes left of new files below a directory, ``.NAME.new``; links are not followed."""
    for place, _, names in os.walk(directory):
        yield from (Path(place, name) for name in names if _UNFINISHED.fullmatch(name))


def _listed(directory: Path) -> Sequence[Path]:
    try:
        return sorted(directory.iterdir())
    except OSError:
        return ()
