"""What a mounted file system has counted of its disks' errors (btrfs-device(8))."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import frozen

from terra_core.config.node import DiskGroup
from terra_core.errors import TerraError
from terra_core.system.process import run

_NAMES = {
    "write_io_errs": "writes that failed",
    "read_io_errs": "reads that failed",
    "flush_io_errs": "flushes that failed",
    "corruption_errs": "blocks with a wrong checksum",
    "generation_errs": "blocks that are out of date",
}


@frozen
class Errors:
    """The errors of a disk.

    :param device: the block device.
    :param counted: their numbers, by the counter's name.
    """

    device: str
    counted: Mapping[str, int]

    def __str__(self) -> str:
        return f"{self.device}: {', '.join(f'{number} {_NAMES.get(name, name)}' for name, number in self.counted.items())}"


def parse_errors(answer: bytes) -> Sequence[Errors]:
    """Return the disks with errors from the output of ``btrfs --format json device stats``."""
    found = []
    for row in json.loads(answer)["device-stats"]:
        counted = {name: int(value) for name, value in row.items() if name not in ("device", "devid") and int(value)}
        if counted:
            found.append(Errors(row["device"], counted))
    return found


def verify(group: DiskGroup, place: Path) -> bool:
    """Look at the counters of a new file system, all of which begin at zero.

    :raises TerraError: when one of its disks had an error, which its group would hide until another disk fails too.
    """
    broken = parse_errors(run(["btrfs", "--format", "json", "device", "stats", place]).stdout)
    if broken:
        raise TerraError(
            f'group "{group.label}": {"; ".join(map(str, broken))}',
            hint="the disk or its cable is broken, or the disk that its file is on is full; see dmesg(1)",
        )
    return True
