"""Disks to install on: loop devices over sparse files, with partitions if somebody makes some."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from terra_core.system.mounts import loop_device
from terra_core.system.process import run
from terra_core.system.undo import Undo

MB = 1024 * 1024


@frozen
class Disk:
    """A disk.

    :param device: the block device.
    :param file: the file behind it.
    """

    device: Path
    file: Path

    def partition(self, number: int) -> Path:
        """Return the block device of a partition that the kernel knows."""
        return Path(f"{self.device}p{number}")

    def content(self) -> str:
        """Return a digest over all that is on it; holes count as zeros, and are passed over quickly."""
        return digest_of(self.file)


@contextmanager
def attached(files: Sequence[Path], sector_size: int = 512) -> Iterator[tuple[Disk, ...]]:
    """Attach image files as disks; at the end their partitions and the loop devices are gone.

    :param sector_size: of the disks' logical blocks, in bytes.
    """
    with Undo() as undo:
        yield tuple(Disk(undo.enter_context(_attached(file, sector_size)), file) for file in files)


@contextmanager
def blank(directory: Path, sizes: Sequence[int], sector_size: int = 512) -> Iterator[tuple[Disk, ...]]:
    """Blank disks of these sizes in MB, in sparse files below ``directory``."""
    with attached([sparse(directory / f"disk-{at}.img", size) for at, size in enumerate(sizes)], sector_size) as disks:
        yield disks


def sparse(path: Path, size: int) -> Path:
    """Make a sparse file of ``size`` MB."""
    with path.open("xb") as file:
        file.truncate(size * MB)
    return path


def digest_of(path: Path) -> str:
    """Return a digest over what a sparse file holds and where; blocks of zeros count as holes."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        at = 0
        while at < end:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                break  # nothing but a hole is left
            hole = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            while at < hole:
                block = os.pread(file.fileno(), min(MB, hole - at), at)
                if any(block):
                    found.update(at.to_bytes(8, "little"))
                    found.update(block)
                at += len(block)
    return found.hexdigest()


@contextmanager
def _attached(file: Path, sector_size: int) -> Iterator[Path]:
    with loop_device(file, sector_size=sector_size) as device, Undo() as undo:
        # The kernel does not remove partitions of a loop device that a program has added.
        undo.callback(run, ["partx", "--delete", device], accept=range(256))
        yield device
