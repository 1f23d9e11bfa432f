"""The place of one part of the lab: a directory, a name, and a lock that says whether its owner lives."""

from __future__ import annotations

import itertools
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Self

from lab.mounts import unmount_below
from lab.processes import Process, end, in_namespace, mentioning, mount_namespace, running
from terra_core.system.locks import locked, try_lock
from terra_core.system.process import run
from terra_core.system.undo import Undo

ROOT = Path("/run/terra-lab")
"""Short, because a socket's path has 107 characters at most."""
NAMESPACES = Path("/run/netns")
_LOCK = ".lock"
_MOUNTS = "mount-namespace"


class Place:
    """A directory of this process, below ``/run/terra-lab``, for sockets and other temporary files.

    Its name holds the process id, so that labs live side by side. Entering takes down every place whose owner was
    killed: processes, mounts, the network namespace of the same name, the directory. Leaving removes the directory.
    A place in a mount namespace (mount_namespaces(7)) that others still use is left to them: its mounts are seen there only.

    :param label: what it is for, a word such as ``network``.
    """

    def __init__(self, label: str) -> None:
        self._label = label
        self._resources = Undo()
        self._path: Path | None = None

    @property
    def path(self) -> Path:
        """The directory."""
        if self._path is None:
            raise RuntimeError(f"the place {self._label!r} was not entered")
        return self._path

    @property
    def name(self) -> str:
        """A name that no other living place has."""
        return self.path.name

    def claim(self, directory: Path) -> None:
        """Claim processes with, and mounts below, ``directory`` for this place."""
        (self.path / f"claim-{len(list(self.path.glob('claim-*')))}").symlink_to(directory.resolve())

    def __enter__(self) -> Self:
        with alone():
            for dead in _dead():
                take_down(dead)
            self._path = _new_directory(self._label)
            self._resources.callback(_forget, self._path)
            (self._path / _MOUNTS).write_text(mount_namespace("self"))
            hold(self._resources, self._path / _LOCK)
        return self

    def __exit__(self, *failure: object) -> None:
        self._resources.unwind(failure)


def take_down(path: Path) -> None:
    """End the processes, mounts and network namespace of the place at ``path``, then remove its directory."""
    namespace = NAMESPACES / path.name
    end(_processes(path))
    for directory in _directories(path):
        unmount_below(directory)
    if namespace.exists():
        run(["ip", "netns", "delete", path.name])
    shutil.rmtree(path)


def _directories(path: Path) -> list[Path]:
    """Return the directory of a place, and those that it claims."""
    return [path, *(link.resolve() for link in path.glob("claim-*"))]


def _processes(path: Path) -> list[Process]:
    namespace = NAMESPACES / path.name
    return [*(in_namespace(namespace) if namespace.exists() else []), *mentioning(_directories(path))]


def hold(resources: ExitStack, path: Path) -> bool:
    """Lock the file at ``path`` until ``resources`` closes; return whether nobody else had it locked."""
    file: IO[bytes] = resources.enter_context(path.open("ab"))
    return try_lock(file.fileno())


def _dead() -> list[Path]:
    found = []
    for path in sorted(ROOT.iterdir()):
        with Undo() as resources:
            if path.is_dir() and hold(resources, path / _LOCK) and not _left_to_others(path):
                found.append(path)
    return found


def _left_to_others(path: Path) -> bool:
    """Return whether a place's mounts are in a foreign namespace that others than the place's own processes use."""
    mounts = path / _MOUNTS
    namespace = mounts.read_text() if mounts.exists() else mount_namespace("self")
    if namespace == mount_namespace("self"):
        return False
    own = _processes(path)
    return bool(running(lambda process: mount_namespace(str(process.pid)) == namespace and process not in own))


@contextmanager
def alone() -> Iterator[None]:
    """Let one process at a time look for what dead ones left, or make a directory: a new one has no lock for a moment."""
    ROOT.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(ROOT / _LOCK, seconds=math.inf):
        yield


def _new_directory(label: str) -> Path:
    for number in itertools.count(1):
        path = ROOT / (f"{label}-{os.getpid()}" + (f"-{number}" if number > 1 else ""))
        try:
            path.mkdir(mode=0o700)
        except FileExistsError:
            continue
        return path
    raise AssertionError("counting has no end")


def _forget(path: Path) -> None:
    with alone():
        shutil.rmtree(path, ignore_errors=True)
