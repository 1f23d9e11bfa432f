"""Mounts and loop devices that go away with whoever asked for them, and the sweep for those whose owner was killed."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from attrs import frozen

from terra_core.errors import ConflictError, NotFoundError, TerraError
from terra_core.system.process import run, uninterrupted
from terra_core.system.reading import lines_of, unescaped
from terra_core.system.waiting import wait_until

_HARMLESS = ("nodev", "nosuid")
_MOUNT_SECONDS = 120
_BUSY_SECONDS = 10.0
_DETACH_SECONDS = 10.0
_DELETED = re.compile(r"(?: \(deleted\)|//deleted)\Z")


@frozen
class MountPoint:
    """A line of proc_pid_mountinfo(5).

    :param path: where it is mounted.
    :param number: major and minor number of the file system, as ``8:1``.
    :param source: what is mounted.
    """

    path: Path
    number: str
    source: str


@frozen
class LoopDevice:
    """An attached loop device.

    :param path: the device.
    :param file: the file behind it; it may have been removed meanwhile.
    """

    path: Path
    file: Path


def parse_mounts(text: str) -> list[MountPoint]:
    """What mountinfo says, in its order."""
    found = []
    for line in lines_of(text):
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        found.append(MountPoint(Path(unescaped(fields[4])), fields[2], unescaped(right.split(" ")[1])))
    return found


def parse_loop_devices(text: str) -> list[LoopDevice]:
    """What ``losetup --json`` says; it says nothing at all where there is no device."""
    rows = json.loads(text)["loopdevices"] if text.strip() else []
    return [LoopDevice(Path(row["name"]), Path(_DELETED.sub("", row["back-file"]))) for row in rows if row["back-file"]]


def mount_points() -> list[MountPoint]:
    """Every mount that this process sees."""
    return parse_mounts(os.fsdecode(Path("/proc/self/mountinfo").read_bytes()))


def loop_devices() -> list[LoopDevice]:
    """Every attached loop device."""
    return parse_loop_devices(run(["losetup", "--json", "--list", "--output", "NAME,BACK-FILE"]).text)


@contextmanager
def mounted(device: Path, target: Path, *, filesystem: str, options: Sequence[str] = ()) -> Iterator[Path]:
    """Mount ``device`` at ``target`` (mount(8)), and unmount it at the end.

    What is mounted may be of anybody's making: its device nodes open nothing here, and its setuid programs give no rights.

    :param device: a block device.
    :param target: a directory that nothing is mounted at.
    :param filesystem: the type, such as ``btrfs``.
    :param options: mount options, such as ``subvol=/os``.
    :returns: ``target``.
    :raises ConflictError: when something is mounted there already.
    :raises TerraError: when it can't be mounted, or is still used at the end.
    """
    place = target.resolve()
    if _mounted_at(place):
        raise ConflictError(f"{place}: something is mounted there already")
    chosen = ["--options", ",".join((*options, *_HARMLESS))]
    with ExitStack() as undo:
        # Before the step: an interruption between the mount and the next line would find nothing to undo.
        undo.callback(_unmount, place)
        run(["mount", "--types", filesystem, *chosen, "--source", device, "--target", place], timeout=_MOUNT_SECONDS)
        yield target


@contextmanager
def loop_device(path: Path, *, read_only: bool = False) -> Iterator[Path]:
    """Attach a file to a loop device (losetup(8)), and detach it at the end, waiting until it is gone.

    :param path: an image file.
    :param read_only: refuse writes.
    :returns: the device.
    :raises NotFoundError: when there is no such file.
    :raises ConflictError: when the file is attached already.
    """
    if not path.is_file():
        raise NotFoundError(f"{path}: there is no such file")
    file = path.resolve()
    _refuse_attached(file)
    with ExitStack() as undo:
        # By file and before the step: an interrupted losetup has attached a device that nobody was told of.
        undo.callback(_detach, file)
        mode = ["--read-only"] if read_only else []
        yield Path(run(["losetup", "--find", "--show", "--nooverlap", "--direct-io=off", *mode, file]).text.strip())


def sweep(directory: Path, files: Path) -> tuple[str, ...]:
    """Take away what a killed process left: mounts below ``directory``, loop devices of files below ``files``.

    :param directory: where mount points are made; nothing below it may be in use.
    :param files: where image files are kept.
    :returns: the mount points and loop devices that were taken away.
    :raises TerraError: when a loop device is still in use elsewhere.
    """
    with uninterrupted():
        points = _unmount_below(directory.resolve())
        root = files.resolve()
        devices = [device for device in loop_devices() if root in device.file.parents]
        for device in devices:
            run(["losetup", "--detach", device.path], accept=(0, 1))
        for device in devices:
            _wait_detached(device.file, [device.path])
    return (*points, *(str(device.path) for device in devices))


def _mounted_at(place: Path) -> bool:
    return any(point.path == place for point in mount_points())


def _unmount(place: Path) -> None:
    with uninterrupted():
        if not _mounted_at(place):
            return
        try:
            wait_until(lambda: _unmounted(place), seconds=_BUSY_SECONDS, what=f"{place} to be used by nobody")
        except TerraError as error:
            run(["umount", "--lazy", place], accept=(0, 32))
            raise TerraError(
                f"{place} was still in use; it is unmounted when its last user ends", hint="fuser --mount names the user"
            ) from error


def _unmounted(place: Path) -> bool:
    run(["umount", place], timeout=_MOUNT_SECONDS, accept=(0, 1, 32))
    return not _mounted_at(place)


def _unmount_below(root: Path) -> list[str]:
    """The deepest first; again and again, because a mount can hide others below it; by force when nothing else moves."""
    taken: list[str] = []
    for how in ([], ["--lazy"]):
        progress = True
        while progress:
            points = [point.path for point in mount_points() if root in point.path.parents]
            for point in sorted(points, key=lambda path: len(path.parts), reverse=True):
                run(["umount", *how, point], timeout=_MOUNT_SECONDS, accept=(0, 1, 32))
            left = [point.path for point in mount_points() if root in point.path.parents]
            progress = len(left) < len(points)
            taken += _less(points, left)
    return taken


def _less(before: Sequence[Path], after: Sequence[Path]) -> list[str]:
    rest = list(after)
    gone = []
    for path in before:
        if path in rest:
            rest.remove(path)
        else:
            gone.append(str(path))
    return gone


def _refuse_attached(file: Path) -> None:
    for device in _devices_of(file):
        raise ConflictError(f"{file}: is attached to {device} already", hint=f"losetup --detach {device}, if nothing uses it")


def _devices_of(file: Path) -> list[Path]:
    return [device.path for device in loop_devices() if device.file == file]


def _detach(file: Path) -> None:
    with uninterrupted():
        devices = _devices_of(file)
        for device in devices:
            run(["losetup", "--detach", device], accept=(0, 1))
        _wait_detached(file, devices)


def _wait_detached(file: Path, devices: Sequence[Path]) -> None:
    """A device that is open at the moment, as udev likes to have it, goes when it is closed."""
    if not devices:
        return
    try:
        wait_until(
            lambda: not any(device.path in devices and device.file == file for device in loop_devices()),
            seconds=_DETACH_SECONDS,
            what=f"{', '.join(map(str, devices))} to be detached from {file}",
        )
    except TerraError as error:
        raise TerraError(f"{file}: {error.message}", hint="it is mounted or open; fuser --mount names the user") from error
