"""What a disk holds and what uses it, as the kernel and wipefs(8) tell."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from terra_core.errors import ConflictError, TerraError
from terra_core.system.mounts import mount_points
from terra_core.system.process import run
from terra_core.system.reading import lines_of, unescaped

ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
"""The type of an EFI system partition (UEFI specification, section 5.3.3)."""

_SWAPS = Path("/proc/swaps")
_BLOCKS = Path("/sys/class/block")
_WIPEFS_SECONDS = 120
_COLUMNS = "OFFSET,LENGTH,TYPE,LABEL"
_LITTLE_ROOM = 16 * 1024 * 1024
_TABLES = frozenset({"gpt", "PMBR", "dos"})


@frozen
class Signature:
    """A mark by which programs know a disk as a file system, a partition table, a RAID member or the like.

    :param kind: its type in libblkid's words, such as ``ext4``.
    :param label: its label; empty when it has none.
    :param offset: where it begins, in bytes.
    :param length: how long it is, in bytes.
    """

    kind: str
    label: str
    offset: int
    length: int

    @property
    def table(self) -> bool:
        """Return whether it is part of a partition table."""
        return self.kind in _TABLES

    def __str__(self) -> str:
        return f'{self.kind} "{self.label}"' if self.label else self.kind


def parse_signatures(text: str) -> tuple[Signature, ...]:
    """Return the signatures in the output of ``wipefs --json``, which is empty for some blank disks."""
    rows = json.loads(text)["signatures"] if text.strip() else []
    return tuple(
        Signature(row["type"], row.get("label") or "", int(str(row["offset"]), 16), int(row.get("length") or 0)) for row in rows
    )


def signatures_of(device: Path) -> tuple[Signature, ...]:
    """Return every signature on a block device or image file."""
    found = run(["wipefs", "--json", "--no-act", "--output", _COLUMNS, device], timeout=_WIPEFS_SECONDS)
    return parse_signatures(found.text)


def in_words(signatures: Sequence[Signature]) -> str:
    """Return signatures in words for an error, each once."""
    return ", ".join(dict.fromkeys(str(signature) for signature in signatures))


def parse_swaps(text: str) -> list[Path]:
    """Return the devices and files that /proc/swaps lists."""
    return [Path(unescaped(re.split(r"[ \t]", line)[0])) for line in lines_of(text)[1:] if line.strip()]


def is_swap(path: Path) -> bool:
    """Return whether the kernel swaps to a device or file, after its links are resolved."""
    return path in parse_swaps(os.fsdecode(_SWAPS.read_bytes()))


@contextmanager
def held(device: Path, *, writing: bool = False) -> Iterator[int]:
    """Open a block device that nothing uses, give its descriptor, and keep others from mounting it for the time of a block.

    The kernel gives a device that is mounted, swapped to, or part of another one to nobody else.

    :param writing: open it for writing too.
    :raises ConflictError: when it is in use.
    """
    try:
        descriptor = os.open(device, (os.O_RDWR if writing else os.O_RDONLY) | os.O_EXCL | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.EBUSY:
            message = f"{device}: is in use{user_of(device.resolve())}"
            raise ConflictError(message, hint="name a disk that nothing uses") from None
        raise TerraError(f"{device}: cannot be opened: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def user_of(path: Path) -> str:
    """Return what uses a block device, such as ``, mounted at /home``; empty when the kernel does not say.

    :param path: the device, its links resolved.
    """
    system = _BLOCKS / path.name
    parts = {path.name, *(part.parent.name for part in system.glob("*/partition"))}
    numbers = {number_of(name) for name in parts}
    for point in mount_points():
        if point.number in numbers or Path(point.source).name in parts:
            return f", mounted at {point.path}"
    holders = [holder.name for name in sorted(parts) for holder in (_BLOCKS / name).glob("holders/*")]
    if holders:
        return f", held by {', '.join(holders)}"
    for member in Path("/sys/fs").glob("*/*/devices/*"):  # as of file systems that are on several devices
        if member.name in parts:
            kind, name = member.parts[-4], member.parts[-3]
            return f", part of the mounted {kind} file system {name}"
    return ""


def file_behind(device: Path) -> Path | None:
    """Return the file behind a loop device or a partition of one, or the disk itself when it is a file; None for other disks.
    """
    if device.is_file():
        return device
    name = device.resolve().name
    kept = read_attribute(name, "loop/backing_file") or read_attribute(f"{name}/..", "loop/backing_file")
    return Path(kept) if kept else None


def cannot_grow(file: Path) -> bool:
    """Return whether a sparse file still has holes and its file system has next to no room left to fill them."""
    try:
        status, around = file.stat(), os.statvfs(file)
    except OSError:
        return False
    return status.st_blocks * 512 < status.st_size and around.f_bavail * around.f_frsize < _LITTLE_ROOM


def number_of(name: str) -> str:
    """Return the major and minor number of a block device, such as ``8:1``; empty when there is no device of this name."""
    return read_attribute(name, "dev")


def read_attribute(name: str, attribute: str) -> str:
    """Return an attribute of a block device from /sys/class/block; empty when there is none."""
    try:
        return (_BLOCKS / name / attribute).read_text(errors="replace").strip()
    except OSError:
        return ""


def disk_of(name: str) -> Path | None:
    """Return the disk that a partition is on, by the partition's kernel name; ``None`` when it is no partition."""
    if not read_attribute(name, "partition"):
        return None
    return Path("/dev") / (_BLOCKS / name).resolve().parent.name


def partitions_of(disk: Path, kind: str) -> tuple[Path, ...]:
    """Return the partitions of a type that the kernel knows on a disk, by their numbers.

    :param kind: the type's GUID.
    :raises TerraError: when blkid(8) fails.
    """
    names = [entry.parent.name for entry in (_BLOCKS / disk.name).glob("*/partition")]
    names.sort(key=lambda name: int(read_attribute(name, "partition") or 0))
    return tuple(Path("/dev") / name for name in names if _type_of(Path("/dev") / name) == kind)


def _type_of(partition: Path) -> str:
    """Return the GUID of a partition's type; blkid(8) ends with 2 or 8 when it knows nothing, or more than one thing, of it."""
    options = ["--probe", "--match-tag", "PART_ENTRY_TYPE", "--output", "value"]
    return run(["blkid", *options, str(partition)], accept=(0, 2, 8)).text.strip().upper()
