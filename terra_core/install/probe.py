"""Looking at disks; nothing is written."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from terra_core.errors import ConflictError, TerraError, words_of
from terra_core.install.facts import Device, Missing, Parent, parse_device, parse_table
from terra_core.system.disks import held, is_swap, read_attribute, signatures_of, user_of
from terra_core.system.process import run
from terra_core.system.waiting import wait_until

_BOOT_CODE = 440
_LAST_USER_SECONDS = 5.0
_NO_PLACE = ", part of "
"""So begins what is known of a mount at a place that is not seen from here, such as of a program that was killed just now."""


def examine(names: Iterable[str]) -> dict[str, Device | Missing]:
    """Look at every block device that node.toml names.

    :raises TerraError: when a tool is missing, or fails on a device.
    """
    return {name: _examine(name) for name in names}


def _examine(name: str) -> Device | Missing:
    try:
        path = Path(name).resolve(strict=True)
        status = path.stat()
    except FileNotFoundError:
        return Missing(name, "there is no such device")
    except (OSError, RuntimeError) as error:  # a chain of links that ends nowhere is a RuntimeError
        return Missing(name, f"cannot be used: {words_of(error)}")
    if not stat.S_ISBLK(status.st_mode):
        return Missing(name, "is no block device")
    parent = _parent(path)
    return parse_device(
        run(["lsblk", "--json", "--bytes", "--nodeps", "--output-all", path]).text,
        name,
        sequence=sequence_of(path),
        signatures=signatures_of(path),
        use=_use(path),
        parent=parent,
    )


def sequence_of(path: Path) -> str:
    """Return the kernel's sequence number of the disk that a device is, or is a part of."""
    return read_attribute(path.name, "diskseq") or read_attribute(f"{path.name}/..", "diskseq")


def _use(path: Path) -> str:
    """Return in words how a device is used; empty when it is free, which after an unmount may take the kernel a moment."""
    if is_swap(path):
        return "is used as swap"

    def settled() -> str:
        try:
            with held(path):
                return "free"
        except ConflictError:
            user = user_of(path)
            return "" if not user or user.startswith(_NO_PLACE) else f"is in use{user}"

    try:
        answer = wait_until(settled, seconds=_LAST_USER_SECONDS, what=f"{path} to be used by nobody")
    except TerraError:
        return f"is in use{user_of(path)}"
    return "" if answer == "free" else answer


def _parent(path: Path) -> Parent | None:
    if not read_attribute(path.name, "partition"):
        return None
    disk = Path("/dev") / (Path("/sys/class/block") / path.name).resolve().parent.name
    kind, slices = parse_table(run(["sfdisk", "--json", disk], accept=(0, 1)).text)
    with disk.open("rb") as opened:
        boot_code = any(opened.read(_BOOT_CODE))
        size = opened.seek(0, os.SEEK_END)
    return Parent(
        path=disk,
        number=read_attribute(disk.name, "dev"),
        size=size,
        sector_size=int(read_attribute(disk.name, "queue/logical_block_size") or 512),
        sequence=sequence_of(disk),
        table=kind,
        slices=slices,
        boot_code=boot_code,
    )
