"""Disks that are about to be formatted: what they are, and why they may not be written to."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from terra_core.errors import ConflictError, NotFoundError, TerraError
from terra_core.system.disks import held, in_words, is_swap, signatures_of, user_of
from terra_core.system.mounts import loop_device, loop_devices
from terra_core.system.undo import Undo

_MB = 1024 * 1024


@frozen
class Disk:
    """A block device or an image file that can be written to.

    :param name: how it was named.
    :param path: where the links of its name lead.
    :param size: in bytes.
    :param image: whether it is a file.
    """

    name: Path
    path: Path
    size: int
    image: bool


def examine(devices: Sequence[Path]) -> tuple[Disk, ...]:
    """Look at every disk of a group, and refuse what is no disk, is in use, or is named twice; nothing is written.

    :raises NotFoundError: when one does not exist.
    :raises ConflictError: when one is in use, or two are the same.
    :raises TerraError: when one is neither a block device nor a file.
    """
    seen: dict[tuple[int, int], Path] = {}
    disks = []
    for device in devices:
        status = _status(device)
        identity = (status.st_rdev, -1) if stat.S_ISBLK(status.st_mode) else (status.st_dev, status.st_ino)
        if identity in seen:
            raise ConflictError(f"{device}: is the same disk as {seen[identity]}", hint="name every disk once")
        seen[identity] = device
        path = device.resolve()
        image = stat.S_ISREG(status.st_mode)
        _refuse_used(device, path, status)
        disks.append(Disk(device, path, status.st_size if image else _capacity(device), image))
    return tuple(disks)


def require_size(disks: Sequence[Disk], least: int, filesystem: str) -> None:
    """Refuse a disk below ``least`` bytes.

    :param filesystem: what needs them, for the error.
    :raises TerraError: naming the disk, its size, and the least.
    """
    for disk in disks:
        require_bytes(disk.name, disk.size, least, filesystem)


def require_bytes(name: str | Path, size: int, least: int, filesystem: str) -> None:
    """Refuse ``size`` below ``least``, both in bytes.

    :param name: the disk, for the error.
    :param filesystem: what needs them, for the error.
    :raises TerraError: naming the disk, its size, and the least.
    """
    if size < least:
        raise TerraError(f"{name}: has {size / _MB:g} MB, and {filesystem} needs at least {least // _MB} MB on each disk here")


def require_blank(disks: Sequence[Disk]) -> None:
    """Refuse a disk that holds a file system, a partition table, a RAID member or anything else that wipefs(8) knows.

    :raises ConflictError: naming the disk and what was found.
    """
    for disk in disks:
        found = signatures_of(disk.path)
        if found:
            raise ConflictError(
                f"{disk.name}: is not blank: it holds {in_words(found)}",
                hint=f"if nothing on it is needed, clear it with: wipefs --all {disk.path}",
            )


@contextmanager
def attached(disks: Sequence[Disk]) -> Iterator[tuple[Path, ...]]:
    """Offer the block device of each disk: a loop device for an image until the end, the device itself otherwise.

    :raises ConflictError: when an image is attached already.
    """
    with Undo() as undo:
        yield tuple(undo.enter_context(loop_device(disk.path)) if disk.image else disk.path for disk in disks)


def _status(device: Path) -> os.stat_result:
    try:
        status = device.stat()
    except FileNotFoundError:
        raise NotFoundError(f"{device}: there is no such device or file") from None
    except OSError as error:
        raise TerraError(f"{device}: cannot be used: {error.strerror}") from error
    if not (stat.S_ISBLK(status.st_mode) or stat.S_ISREG(status.st_mode)):
        raise TerraError(f"{device}: is neither a block device nor an image file")
    return status


def _refuse_used(device: Path, path: Path, status: os.stat_result) -> None:
    if is_swap(path):
        raise ConflictError(f"{device}: is used as swap", hint=f"swapoff {path}")
    if stat.S_ISREG(status.st_mode):
        for loop in loop_devices():
            if loop.file == path:
                raise ConflictError(f"{device}: is attached to {loop.path}{user_of(loop.path)}")
        return
    with held(device):
        pass


def _capacity(device: Path) -> int:
    with device.open("rb") as opened:
        return opened.seek(0, os.SEEK_END)
