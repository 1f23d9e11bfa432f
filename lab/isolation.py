"""Separating a test run from others on the machine: mounts, names of networks, and temporary files."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

from lab.place import NAMESPACES, alone, hold
from lab.processes import Process, end, mount_namespace, running
from terra_core.errors import TerraError
from terra_core.system.mounts import mount_points, sweep
from terra_core.system.namespaces import keep_mounts_private
from terra_core.system.process import run
from terra_core.system.undo import Undo

_ROOT = Path("/var/tmp")  # noqa: S108  # the names in it hold the process id, and a lock says whether the process lives
_PREFIX = "terra-tests-"
_LOCK = ".lock"
_PRIVATE = (NAMESPACES, Path("/run/terra"), Path("/run/tgtd"))
"""Directories of the host of which each run has its own."""
_MARK = b"TMPDIR="


class Isolation:
    """A test run's own part of the machine; each worker of pytest-xdist is a run.

    Every process that the run starts is in its mount namespace, or below one that is, or has TMPDIR below its directory,
    which :func:`terra_core.system.process.clean_environment` passes on. So what the run leaves can be told from what others
    make meanwhile, and no foreign mount namespace keeps a mount of this run.

    :param directory: TMPDIR of the run; every user may pass it, as the boot service's has to.
    :param others: further directories of the run, such as pytest's.
    """

    current: ClassVar[Isolation | None] = None
    """The one of this process; a process cannot leave its mount namespace, and has one at most."""

    def __init__(self, directory: Path, others: Sequence[Path]) -> None:
        self.directory = directory
        self.directories = (directory, *others)
        self._namespace = mount_namespace("self")

    def owns_file(self, path: str) -> bool:
        """Return whether a file is below one of the run's directories, even when it was deleted meanwhile."""
        return any(Path(path).is_relative_to(directory) for directory in self.directories)

    def owns_process(self, process: Process) -> bool:
        """Return whether a process came from the run: by its mounts, by its environment, or by its arguments."""
        if process.pid == os.getpid():
            return False
        return (
            mount_namespace(str(process.pid)) == self._namespace
            or _started_by(process, self.directories)
            or any(f"{directory}/" in process.command for directory in self.directories)
        )


@contextmanager
def isolated(others: Sequence[Path] = ()) -> Iterator[Isolation]:
    """Take this process apart from everybody else's mounts, and give it a TMPDIR of its own, which is removed at the end.

    It first removes what killed runs left: processes, loop devices, directories.

    :param others: further directories that only this process writes to.
    :raises TerraError: when the kernel gives it no mounts of its own.
    """
    with Undo() as resources:
        directory = _ROOT / f"{_PREFIX}{os.getpid()}"
        with alone():
            for left in sorted(_ROOT.glob(f"{_PREFIX}*")):
                _sweep(left)
            directory.mkdir(mode=0o755)
            resources.callback(shutil.rmtree, directory, ignore_errors=True)
            hold(resources, directory / _LOCK)
        if Isolation.current is None:
            _separate_mounts()
        former = os.environ.get("TMPDIR")
        resources.callback(_set_temporary, former)
        _set_temporary(str(directory))
        Isolation.current = Isolation(directory, others)
        yield Isolation.current


def _set_temporary(directory: str | None) -> None:
    if directory is None:
        os.environ.pop("TMPDIR", None)
    else:
        os.environ["TMPDIR"] = directory
    tempfile.tempdir = directory  # otherwise it is what is found first, such as one that a test has given to programs


def _separate_mounts() -> None:
    keep_mounts_private()
    # A copy of a foreign mount would keep its loop device attached as long as this run lasts.
    for point in reversed(mount_points()):
        if point.source.startswith("/dev/loop") and not Path.cwd().is_relative_to(point.path):
            run(["umount", "--lazy", point.path], accept=(0, 1, 32))
    for path in _PRIVATE:
        path.mkdir(parents=True, exist_ok=True)
        run(["mount", "-t", "tmpfs", "-o", "mode=755", "terra-tests", path])


def _sweep(directory: Path) -> None:
    """Take away what a run left whose process was killed; leave a living one's alone."""
    with Undo() as resources:
        try:
            if not hold(resources, directory / _LOCK):
                return
        except FileNotFoundError:  # it has just gone by itself
            return
        end(running(lambda process: _started_by(process, [directory])))
        with suppress(TerraError):  # a loop device that a process holds is detached when the process ends
            sweep(directory, directory)
        shutil.rmtree(directory, ignore_errors=True)


def _started_by(process: Process, directories: Sequence[Path]) -> bool:
    try:
        environment = Path(f"/proc/{process.pid}/environ").read_bytes()
    except OSError:
        return False
    values = [word.removeprefix(_MARK) for word in environment.split(b"\0") if word.startswith(_MARK)]
    return any(Path(os.fsdecode(value)).is_relative_to(directory) for value in values for directory in directories)
