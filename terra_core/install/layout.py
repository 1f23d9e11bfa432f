"""How a whole disk of the operating system is divided: a GUID partition table (UEFI specification, chapter 5)."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from terra_core.config.node import Firmware
from terra_core.install.facts import BIOS_BOOT
from terra_core.system.disks import ESP

MB = 1024 * 1024
LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"

_BIOS_MB = 1
_ESP_MB = 256
_CHOICE_MB = 40
"""For a BIOS alone: the least FAT32, where the boot loader keeps what it starts."""
_ESP_MB_OF_LARGE_SECTORS = 260
"""FAT32 has at least 65525 clusters, and a cluster at least a sector: of 4096 bytes, that makes 256 MB before the tables."""
_LARGE_SECTOR = 4096
_EDGE_MB = 1
"""What stays free at both ends, in MB: for the table and its copy, and so that partitions are aligned."""


@frozen(kw_only=True)
class Partition:
    """A partition to make, in MB.

    :param number: its number.
    :param start: where it begins.
    :param size: how long it is.
    :param type: its type's GUID.
    :param name: its name in the table.
    """

    number: int
    start: int
    size: int
    type: str
    name: str


def divide(size: int, firmware: Firmware, label: str, sector_size: int = 512) -> tuple[Partition, ...]:
    """Return the partitions of a disk: those its boot loader needs, and the rest for the group, which may have no room at all.

    :param size: of the disk, in bytes.
    :param label: the group's label.
    :param sector_size: of the disk, in bytes.
    """
    esp = _ESP_MB_OF_LARGE_SECTORS if sector_size >= _LARGE_SECTOR else _ESP_MB
    wanted = [(_BIOS_MB, BIOS_BOOT, "terra-bios")] if firmware.bios else []
    wanted += [(esp if firmware.uefi else _CHOICE_MB, ESP, "terra-esp")]
    taken = _EDGE_MB + sum(part[0] for part in wanted)
    wanted += [(max(0, size // MB - _EDGE_MB - taken), LINUX, f"terra-{label}"[:36])]
    made, start = [], _EDGE_MB
    for number, (length, kind, name) in enumerate(wanted, 1):
        made.append(Partition(number=number, start=start, size=length, type=kind, name=name))
        start += length
    return tuple(made)


def render_script(partitions: Sequence[Partition], sector_size: int) -> str:
    """Return the input from which sfdisk(8) makes the partitions.

    :param sector_size: of the disk, in bytes.
    """
    each = MB // sector_size
    lines = [
        f'{part.number} : start={part.start * each}, size={part.size * each}, type={part.type}, name="{part.name}"'
        for part in partitions
    ]
    return "\n".join(["label: gpt", "unit: sectors", "", *lines, ""])
