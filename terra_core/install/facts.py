"""What is known of a block device before anything is written to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from terra_core.system.disks import Signature

BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"
"""The type of a BIOS boot partition (GRUB's own GUID)."""


@frozen
class Slice:
    """A partition that is there, in sectors.

    :param start: its first sector.
    :param sectors: its length.
    :param type: its GUID, or its number in a DOS table, as sfdisk(8) writes it.
    """

    start: int
    sectors: int
    type: str


@frozen(kw_only=True)
class Parent:
    """The disk that a partition is on.

    :param path: the disk.
    :param number: its major and minor number, as ``8:0``.
    :param size: in bytes.
    :param sector_size: in bytes.
    :param sequence: the kernel's sequence number of the attached disk; empty when it has none.
    :param table: ``gpt``, ``dos`` or what else sfdisk(8) knows; empty when it knows none.
    :param slices: its partitions.
    :param boot_code: whether its first sector holds a boot loader.
    """

    path: Path
    number: str
    size: int
    sector_size: int
    sequence: str
    table: str
    slices: tuple[Slice, ...]
    boot_code: bool

    def core_area(self) -> tuple[int, int] | None:
        """First sector and length of where a boot loader for a BIOS may lie; ``None`` when there is no such place.

        That is the BIOS boot partition of a GPT, or what is between a DOS partition table and the first partition.
        """
        if self.sector_size != 512:
            return None
        if self.table == "gpt":
            return next(((one.start, one.sectors) for one in self.slices if one.type.upper() == BIOS_BOOT), None)
        if self.table == "dos" and self.slices:
            return 1, min(one.start for one in self.slices) - 1
        return None


@frozen(kw_only=True)
class Device:
    """A block device as it was found.

    :param name: as node.toml names it.
    :param path: where the links of its name lead.
    :param number: its major and minor number, as ``8:1``.
    :param size: in bytes.
    :param sector_size: in bytes.
    :param kind: ``disk``, ``part``, ``loop`` or what else lsblk(8) knows.
    :param model: as the disk says; may be empty, as the serial number may.
    :param sequence: the kernel's sequence number of the attached disk; empty when it has none.
    :param read_only: whether it can't be written.
    :param signatures: the marks of file systems, RAID and partition tables on it.
    :param use: who uses it, such as ``in use, mounted at /home``; empty when nobody does.
    :param parent: the disk that it is a partition of.
    """

    name: str
    path: Path
    number: str
    size: int
    sector_size: int = 512
    kind: str = "disk"
    model: str = ""
    serial: str = ""
    sequence: str = ""
    read_only: bool = False
    signatures: tuple[Signature, ...] = ()
    use: str = ""
    parent: Parent | None = None


@frozen
class Missing:
    """A device that is not there, or is no block device.

    :param name: as node.toml names it.
    :param problem: why, in words.
    """

    name: str
    problem: str


def parse_device(
    text: str, name: str, *, sequence: str, signatures: tuple[Signature, ...], use: str, parent: Parent | None
) -> Device:
    """Return a device from the output of ``lsblk --json --bytes --nodeps --output-all`` and from what lsblk does not tell."""
    row: Mapping[str, Any] = json.loads(text)["blockdevices"][0]
    return Device(
        name=name,
        path=Path(row["path"]),
        number=row["maj:min"].strip(),
        size=int(row["size"]),
        sector_size=int(row["log-sec"]),
        kind=row["type"],
        model=(row["model"] or "").strip(),
        serial=(row["serial"] or "").strip(),
        sequence=sequence,
        read_only=bool(row["ro"]),
        signatures=signatures,
        use=use,
        parent=parent,
    )


def parse_table(text: str) -> tuple[str, tuple[Slice, ...]]:
    """Return the kind of partition table and its partitions from the output of ``sfdisk --json``; empty where there is none."""
    table = json.loads(text)["partitiontable"] if text.strip() else {}
    rows = table.get("partitions", [])
    return table.get("label", ""), tuple(Slice(int(row["start"]), int(row["size"]), str(row["type"])) for row in rows)
