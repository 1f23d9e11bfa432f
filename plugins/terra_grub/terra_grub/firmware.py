"""The entries of the UEFI firmware's boot menu (efibootmgr(8)), where this machine has one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from terra_core.errors import CommandError
from terra_core.hookspecs import BootDisk
from terra_core.system.disks import read_attribute
from terra_core.system.process import run
from terra_core.system.progress import Event, Report
from terra_core.system.reading import lines_of
from terra_grub.esp import DIRECTORY

VARIABLES = Path("/sys/firmware/efi/efivars")
_LABEL = "Terra"
_ENTRY = re.compile(r"Boot([0-9A-Fa-f]{4})[* ] (Terra)\t(.*)")


def register(disks: Sequence[BootDisk], report: Report, variables: Path = VARIABLES) -> None:
    """Let the firmware start Terra from ``disks``, the first one first; entries of an earlier installation go.

    A firmware that takes no entry starts the disk by its fallback path: that is reported, and no error.

    :param variables: the directory that exists only with UEFI firmware.
    """
    disks = [disk for disk in disks if not _is_file(disk)]
    if not disks or not variables.is_dir():
        return
    try:
        for number in parse_entries(run(["efibootmgr", "--verbose"]).text):
            run(["efibootmgr", "--quiet", "--bootnum", number, "--delete-bootnum"])
        for disk in reversed(disks):  # each new entry goes to the front
            loader = "\\" + f"{DIRECTORY}/shimx64.efi".replace("/", "\\")
            where = ["--disk", str(disk.device), "--part", str(disk.esp_number)]
            run(["efibootmgr", "--quiet", "--create", *where, "--label", _LABEL, "--loader", loader])
    except CommandError as error:
        reason = lines_of(error.message)[-1]
        report(Event("boot", f"warning: the firmware takes no boot entry, and starts the disk by its fallback path: {reason}"))


def _is_file(disk: BootDisk) -> bool:
    """Return whether it is a loop device: the future disk of another machine, which this firmware cannot start."""
    return bool(read_attribute(disk.device.name, "loop/backing_file"))


def parse_entries(text: str) -> list[str]:
    """Return the numbers of Terra's own entries in the output of ``efibootmgr --verbose``."""
    found = [_ENTRY.fullmatch(line) for line in lines_of(text)]
    path = DIRECTORY.replace("/", "\\").lower()
    return [entry[1] for entry in found if entry and path in entry[3].lower().replace("/", "\\")]
