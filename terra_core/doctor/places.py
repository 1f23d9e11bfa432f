"""What ``terra doctor`` finds in the controller's own directories, and of mounts and loop devices."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from shlex import quote

from attrs import frozen

from terra_core.config.controller import Paths
from terra_core.doctor.finding import Off
from terra_core.doctor.records import Known
from terra_core.system.evidence import Seen, loop_devices_below, mounts_below, processes, unfinished_files
from terra_core.system.reading import read_regular, salvaged

_YOUNG_SECONDS = 600
_ATTRIBUTE = "user.terra.database"
_MARK = ".terra-database"
_LONGEST = 4096
"""What is read of a mark, in bytes."""
_PURPOSE = "it says which database knows these volumes: see docs/operations.md before anything is changed"
_AT_START = "a controller removes it when it starts; see its log where it does not"


@frozen
class Running:
    """The controller of a root, while it runs.

    :param process: its process.
    :param files: device and inode of each file that it has open.
    """

    process: Seen
    files: Collection[tuple[int, int]]

    @classmethod
    def of(cls, paths: Paths) -> Running | None:
        """Return the process that holds the lock of a root, if there is one."""
        try:
            lock = (paths.run / "controller.lock").stat()
            pid = int((paths.run / "controller.lock").read_text() or "0")
        except (OSError, ValueError):
            return None
        for process in (one for name in _names(pid) for one in processes(name) if one.pid == pid):
            files = process.open_files()
            if (lock.st_dev, lock.st_ino) in files:
                return cls(process, files)
        return None

    def holds(self, path: Path) -> bool:
        """Return whether it has a file, a directory or a device open."""
        with suppress(OSError):
            status = path.stat()
            return (status.st_dev, status.st_ino) in self.files
        return False


def _names(pid: int) -> Sequence[str]:
    with suppress(OSError):
        return [Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()]
    return []


def examine_places(
    paths: Paths, known: Known, running: Running | None, volumes: Path | None, secrets: Collection[Path] = ()
) -> Iterator[Off]:  # fmt: skip
    """Yield what is off in the directories of a controller.

    :param running: the controller, when it runs.
    :param volumes: the directory of the volumes on this machine, if there is one.
    :param secrets: further files that not everybody may read; a group may, as where several programs have one key.
    """
    yield from _work(paths, running)
    yield from _kernel_objects(paths, running, volumes)
    yield from _images(paths, known, running)
    yield from _copies(paths, known)
    yield from _private(paths, secrets)
    for directory in (paths.etc, paths.run):
        for path in unfinished_files(directory):
            yield Off(part="files", problem=f"{path}: was left half-written", hint=_AT_START)
    for path in paths.state.glob(".*.new"):
        yield Off(part="files", problem=f"{path}: was left half-written", hint=_AT_START)


def examine_mark(volumes: Path | None, identity: str) -> Iterator[Off]:
    """Yield what is off with the mark beside the volumes.

    :param identity: which database is read; empty when there is none.
    """
    if volumes is None or not volumes.is_dir():
        return
    marked = ""
    with suppress(OSError):
        marked = os.getxattr(volumes, _ATTRIBUTE).decode(errors="replace").strip()
    if not marked:
        with suppress(OSError):
            marked = salvaged(read_regular(volumes / _MARK, _LONGEST, follow=False)).strip()
    if marked and marked != identity:
        said = "belong to another database than the one that is here" if identity else "have a database, and it is not here"
        yield Off(part="volumes", problem=f"{volumes}: the volumes {said}", hint=_PURPOSE)
    if not marked and identity and _in(volumes):
        yield Off(
            part="volumes", problem=f"{volumes}: the volumes have no mark of their database", hint="start the controller again"
        )


def _work(paths: Paths, running: Running | None) -> Iterator[Off]:
    for place in (path for directory in (paths.work, paths.run / "work") for path in _in(directory)):
        if running is None or not running.holds(place):
            yield Off(part="work", problem=f"{place}: was left by work that nobody does any more", hint=_AT_START)


def _kernel_objects(paths: Paths, running: Running | None, volumes: Path | None) -> Iterator[Off]:
    pids = [running.process.pid] if running is not None else []
    for directory in (paths.run, paths.work):
        for path in sorted(mounts_below(directory, pids)):
            work = next((one for one in path.parents if one.parent in (paths.work, paths.run / "work")), path)
            if running is None or not (running.holds(work) or running.holds(path)):
                yield Off(part="mounts", problem=f"{path}: is mounted, and nobody works there", hint=_AT_START)
    for directory in {paths.work, volumes or paths.work}:
        for device, file in loop_devices_below(directory).items():
            if running is None or not running.holds(Path(device)):
                said = f"{device}: is attached to {file}, and nobody works there"
                yield Off(
                    part="loop devices",
                    problem=said,
                    hint=f"see who holds it (fuser {device}); then: losetup --detach {device}",
                )


def _images(paths: Paths, known: Known, running: Running | None) -> Iterator[Off]:
    wanted = {hashlib.sha256(machine.image.encode()).hexdigest()[:32] for machine in known.machines.values()}
    for place in _in(paths.state / "images"):
        young = running is not None and _age(place) < _YOUNG_SECONDS  # somebody may be pulling it
        if place.name not in wanted and not young:
            yield Off(part="images", problem=f"{place}: an image was pulled, and no machine is of it", hint=_AT_START)


def _copies(paths: Paths, known: Known) -> Iterator[Off]:
    """Find copies of what images boot without what they belong to, and the other way round."""
    there = {path.name for path in _in(paths.state / "golden")}
    tokens = {one.token for one in known.laid.values()}
    for name in sorted(there - tokens):
        yield Off(part="images", problem=f"{paths.state / 'golden' / name}: is of no image that is laid down", hint=_AT_START)
    for one in known.laid.values():
        if one.state == "ready" and one.token not in there:
            said = f"{paths.state / 'golden' / one.token}: what {one.image} boots is missing for further machines"
            yield Off(
                part="images",
                hostname=one.owner,
                problem=said,
                hint=f"terra images --remove lets {one.image} be laid down anew",
            )


def _private(paths: Paths, secrets: Collection[Path]) -> Iterator[Off]:
    keys = [path for path in _in(paths.tls) if "key" in path.name or path.name == "server.pem"]  # which has one, too
    own = dict.fromkeys((paths.token, paths.state, *paths.state.glob("terra.db*"), *keys), 0o077)
    for path, others in (dict.fromkeys(secrets, 0o007) | own).items():
        with suppress(OSError):
            status = path.stat()
            if status.st_mode & others:
                who = "others than its owner" if others == 0o077 else "everybody"
                said = f"{path}: {who} may use it (mode {status.st_mode & 0o7777:o})"
                change = "go=" if others == 0o077 else "o="
                yield Off(part="files", problem=said, hint=f"chmod {change} {quote(str(path))}")


def _age(path: Path) -> float:
    with suppress(OSError):
        return time.time() - path.stat().st_mtime
    return 0.0


def _in(directory: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(directory.iterdir())
    return []
