"""Mounts and loop devices that last for a block, and the sweep of those whose owner was killed."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from attrs import frozen

from terra_core.errors import ConflictError, NotFoundError, TerraError
from terra_core.system.mount_options import takes
from terra_core.system.process import Argument, run, uninterrupted
from terra_core.system.reading import lines_of, unescaped
from terra_core.system.undo import Undo
from terra_core.system.waiting import WaitedInVain, wait_until

_HARMLESS = ("nodev", "nosuid")
_SURVIVING = "errors=remount-ro"
"""What becomes of a file system that is found to be broken. Some say in their superblock that the kernel shall panic then."""
_MOUNT_SECONDS = 120
_BUSY_SECONDS = 10.0
_DETACH_SECONDS = 10.0
_COPY_SECONDS = 3600.0
_SECTOR = 512
_log = logging.getLogger(__name__)
_COLUMNS = "NAME,BACK-FILE,BACK-MAJ:MIN,BACK-INO"
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
    :param file: the file behind it, by the name that it had: it may have been removed meanwhile, or have made way for another.
    :param number: major and minor number of the file's file system, as ``8:1``; empty when the kernel does not say.
    :param inode: the file's number there.
    """

    path: Path
    file: Path
    number: str = ""
    inode: int = 0

    @property
    def binding(self) -> tuple[Path, str, int]:
        """What it is, and of which file, by whatever name that goes."""
        return self.path, self.number, self.inode

    def holds(self, file: Path) -> bool:
        """Return whether this very file is behind it."""
        if not self.number:
            return self.file == file
        try:
            status = file.stat()
        except OSError:
            return False
        return (self.number, self.inode) == (f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}", status.st_ino)


def parse_mounts(text: str) -> list[MountPoint]:
    """Return the mounts of a mountinfo file, in its order."""
    found = []
    for line in lines_of(text):
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        found.append(MountPoint(Path(unescaped(fields[4])), fields[2], unescaped(right.split(" ")[1])))
    return found


def parse_loop_devices(text: str) -> list[LoopDevice]:
    """Return the devices in the output of ``losetup --json``, which is empty when there is none."""
    rows = json.loads(text)["loopdevices"] if text.strip() else []
    return [
        LoopDevice(
            Path(row["name"]),
            Path(_DELETED.sub("", row["back-file"])),
            (row.get("back-maj:min") or "").strip(),
            int(row.get("back-ino") or 0),
        )
        for row in rows
        if row["back-file"]
    ]


def mount_points() -> list[MountPoint]:
    """Return every mount that the calling thread sees; other threads may be in other mount namespaces."""
    return parse_mounts(os.fsdecode(Path("/proc/thread-self/mountinfo").read_bytes()))


def loop_devices() -> list[LoopDevice]:
    """Return every attached loop device."""
    return parse_loop_devices(run(["losetup", "--json", "--list", "--output", _COLUMNS]).text)


@contextmanager
def mounted(device: Path, target: Path, *, filesystem: str, options: Sequence[str] = ()) -> Iterator[Path]:
    """Mount ``device`` at ``target`` (mount(8)), and unmount it at the end.

    The file system is not trusted: its device nodes cannot be opened here, its setuid programs give no rights, and whatever it
    or the options say, the kernel does not panic when it is broken.

    :param device: a block device.
    :param target: a directory that nothing is mounted at.
    :param filesystem: the type, such as ``ext4``.
    :param options: mount options, such as ``subvol=/os``.
    :returns: ``target``.
    :raises ConflictError: when something is mounted there already.
    :raises TerraError: when it can't be mounted, or is still used at the end.
    """
    surviving = [_SURVIVING] if takes(filesystem, _SURVIVING) else []
    chosen = ["--options", ",".join((*options, *_HARMLESS, *surviving))]
    with _undone(target, ["--types", filesystem, *chosen, device]):
        yield target


@contextmanager
def directory_mounted(
    device: Path, name: str, target: Path, *, filesystem: str, options: Sequence[str] = ()
) -> Iterator[Path]:
    """Mount a directory at the top of a file system, and nothing else of it, and unmount it at the end.

    :param name: of the directory; a link of that name is not followed.
    :param target: as for :func:`mounted`, like the other parameters; all of the file system is mounted beside it for a moment.
    :returns: ``target``.
    :raises NotFoundError: when there is no such directory.
    :raises TerraError: as :func:`mounted` does.
    """
    whole = target.with_name(f".{target.name}.whole")
    with Undo() as undo:
        with Undo() as briefly:
            whole.mkdir()
            briefly.callback(whole.rmdir)
            briefly.enter_context(mounted(device, whole, filesystem=filesystem, options=options))
            place = whole / name
            if place.is_symlink() or not place.is_dir():
                raise NotFoundError(f"{device}: has no directory {name} at the top of its file system")
            undo.enter_context(_undone(target, ["--bind", place]))
        yield target


@contextmanager
def bound(directory: Path, target: Path, *, for_reading: bool = False, links: bool = True) -> Iterator[Path]:
    """Mount a directory at a second place (mount(8), ``--bind``), and unmount it there at the end.

    :param target: a directory that nothing is mounted at.
    :param for_reading: let nothing be written by way of it, not even the times of access that reading sets.
    :param links: whether symbolic links lead anywhere by way of it, which a mount ``for_reading`` may refuse.
    :returns: ``target``.
    :raises ConflictError: when something is mounted there already.
    :raises TerraError: when it can't be mounted, or is still used at the end.
    """
    chosen = ("ro", "noatime", *_HARMLESS, *(() if links else ("nosymfollow",)))
    options = ["--options", ",".join(chosen)] if for_reading else []
    with _undone(target, ["--bind", *options, directory.resolve()]):
        yield target


@contextmanager
def _undone(target: Path, words: Sequence[Argument]) -> Iterator[None]:
    place = target.resolve()
    if _mounted_at(place):
        raise ConflictError(f"{place}: something is mounted there already")
    with Undo() as undo:
        # Before the step: an interruption between the mount and the next line would find nothing to undo.
        undo.callback(_unmount, place)
        run(["mount", *words, place], timeout=_MOUNT_SECONDS)
        yield


@contextmanager
def loop_device(
    path: Path, *, read_only: bool = False, sector_size: int = 512, replaceable: bool = True
) -> Iterator[Path]:
    """Attach a file to a loop device (losetup(8)), and detach it at the end, waiting until it is gone.

    The kernel detaches it when this process is killed and nothing on it is mounted any more. When somebody else still holds it
    at the end, they keep the device, and the file becomes a copy of it, so that nothing is lost.

    :param path: an image file.
    :param read_only: refuse writes.
    :param sector_size: of its logical blocks, in bytes.
    :param replaceable: whether a copy can take the file's place; whoever shows something as a file, as by FUSE, takes it away
        from those that still hold it.
    :returns: the device.
    :raises NotFoundError: when there is no such file.
    :raises ConflictError: when the file is attached already.
    """
    if not path.is_file():
        raise NotFoundError(f"{path}: there is no such file")
    file = path.resolve()
    _refuse_attached(file)
    with Undo() as undo:
        # By file and before the step: an interrupted losetup may have attached a device without printing its name.
        undo.push(lambda kind, error, trace: _detach(file, copied=replaceable and not read_only and error is None))
        options = ["--read-only"] if read_only else []
        options += [f"--sector-size={sector_size}"] if sector_size != _SECTOR else []
        device = Path(run(["losetup", "--find", "--show", "--nooverlap", "--direct-io=off", *options, file]).text.strip())
        descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
        undo.callback(os.close, descriptor)
        run(["losetup", "--detach", device])  # while it is open, the kernel waits with that (loop(4), autoclear)
        yield device


def sweep(directory: Path, files: Path) -> tuple[str, ...]:
    """Remove what a killed process left: mounts below ``directory``, loop devices of files below ``files``.

    A loop device that somebody else holds, such as by a copy of a mount in another namespace, stays until they release it;
    nothing new uses it.

    :param directory: where mount points are made; nothing below it may be in use.
    :param files: where image files are kept.
    :returns: the mount points and loop devices that were taken away.
    """
    with uninterrupted():
        points = _unmount_below(directory.resolve())
        devices = _devices_below(files.resolve())
        for device in devices:
            _let_go(device)
        left = _wait_detached(devices)
    for device in left:
        _log.warning("%s: is still held by somebody; it is detached from %s when they end", device.path, device.file)
    return (*points, *(str(device.path) for device in devices if device not in left))


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
    """Unmount all below a directory, the deepest first, until nothing changes; then detach what is left (umount2(2))."""
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
        message = f"{file}: is attached to {device.path} already"
        raise ConflictError(message, hint=f"losetup --detach {device.path}, if nothing uses it")


def _devices_of(file: Path) -> list[LoopDevice]:
    return [device for device in loop_devices() if device.holds(file)]


def _devices_below(directory: Path) -> list[LoopDevice]:
    """Return the devices of files below a directory, also of those that the kernel knows by another or a former name."""
    found = loop_devices()
    named = [device for device in found if directory in device.file.parents]
    others = [device for device in found if device not in named]
    files = [path for path in directory.rglob("*") if path.is_file()] if others else []
    return [*named, *(device for device in others if any(device.holds(file) for file in files))]


def _detach(file: Path, *, copied: bool) -> None:
    with uninterrupted():
        devices = _devices_of(file)
        for device in devices:
            _let_go(device)
        left = _wait_detached(devices)
        if not left:
            return
        names = ", ".join(str(device.path) for device in left)
        _log.warning("%s: somebody holds %s; it is detached when they end, and fuser --mount may name them", file, names)
        if copied and any(_claimed(device.path) for device in left):
            _set_aside(file)


def _let_go(device: LoopDevice) -> None:
    """Detach a loop device, unless it is that of another file by now: a number that became free goes to whoever asks.

    While the device is open it keeps its file, so that what is seen then is what is detached.
    """
    try:
        descriptor = os.open(device.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # it is gone
        return
    with Undo() as undo:
        undo.callback(os.close, descriptor)
        if device.binding in {one.binding for one in loop_devices()}:
            run(["losetup", "--detach", device.path], accept=(0, 1))


def _set_aside(file: Path) -> None:
    """Replace a file, whose loop device another process still uses, with a copy of it.

    What that process or the kernel writes from now on goes to the former file, which has no name and is deleted with the
    device.
    """
    copy = file.with_name(f".{file.name}.copy")
    with Undo() as undo:
        undo.callback(copy.unlink, missing_ok=True)
        run(["cp", "--reflink=auto", "--sparse=always", "--preserve=all", file, copy], timeout=_COPY_SECONDS)
        run(["sync", copy], timeout=_COPY_SECONDS)
        copy.replace(file)


def _claimed(device: Path) -> bool:
    """Return whether a file system, or anything else, has a device open exclusively."""
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
    except OSError as error:
        return error.errno == errno.EBUSY
    return False


def _wait_detached(devices: Sequence[LoopDevice]) -> list[LoopDevice]:
    """Wait until devices are detached, and return those that are not in time: one that is open goes when it is closed."""
    left = list(devices)

    def gone() -> bool:
        attached = {device.binding for device in loop_devices()} if left else set()
        left[:] = [device for device in left if device.binding in attached]
        return not left

    with suppress(WaitedInVain):
        wait_until(gone, seconds=_DETACH_SECONDS, what="loop devices to be detached")
    return left
