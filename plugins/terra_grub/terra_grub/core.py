"""GRUB's core image for a BIOS, and where it lies on a disk.

The first sector of the disk (boot.img) loads the first sector of the core image (diskboot.img), and that loads the rest. The
places that have to be filled in are those of GRUB 2's ``include/grub/i386/pc/boot.h``.
"""

from __future__ import annotations

import os
import struct
import tarfile
from io import BytesIO
from pathlib import Path

from terra_core.errors import TerraError
from terra_core.system.process import run

MODULES = Path("/usr/lib/grub/i386-pc")
"""Where Debian's package grub-pc-bin keeps what a core image is made from."""

SECTOR = 512
"""What a BIOS counts in, in bytes."""

_NEEDED = (
    "biosdisk", "part_gpt", "part_msdos", "memdisk", "tar", "search", "search_fs_uuid", "configfile",
    "normal", "fat", "loadenv", "linux", "test", "echo", "sleep", "reboot", "halt", "serial", "terminal", "regexp", "true",
    "ls", "cat", "minicmd",
)  # fmt: skip
_DRIVERS = {"btrfs": "btrfs", "ext2": "ext2", "ext3": "ext2", "ext4": "ext2", "xfs": "xfs"}
"""The modules that read a type of file system, of those that the signed GRUB for UEFI has built in too."""
_FIRST = "normal (memdisk)/grub.cfg\n"
_PARAMETERS = slice(0x03, 0x5A)
"""The BIOS parameter block, which belongs to the disk."""
_CORE_SECTOR = 0x5C
_DRIVE_CHECK = 0x66
_NO_OPERATION = b"\x90\x90"
_CODE_END = 0x1B8
"""Where the disk's signature and partition table begin."""
_BLOCK_LIST = SECTOR - 12
_LOADED_AT = 0x820
"""The segment that the second sector of the core image goes to."""


def drivers_of(filesystem: str) -> tuple[str, ...]:
    """Return the modules that read a file system.

    :param filesystem: its type, as mount(8) has it; empty while it is not known, which gives all of them.
    :raises TerraError: when there is none.
    """
    if not filesystem:
        return tuple(dict.fromkeys(_DRIVERS.values()))
    if filesystem not in _DRIVERS:
        raise TerraError(
            f"GRUB cannot read the machine's root, which is on {filesystem}", hint=f"use one of {', '.join(sorted(_DRIVERS))}"
        )
    return (_DRIVERS[filesystem],)


def make_core(menu: str, work: Path, filesystem: str = "") -> bytes:
    """Make a core image (grub-mkimage(1)) that runs ``menu`` and needs no other file of GRUB's.

    :param work: a directory for its files.
    :param filesystem: the type of the file system that the menu searches for.
    :raises TerraError: when GRUB's tools or modules are not installed.
    """
    first, memory, core = work / "first.cfg", work / "memory.tar", work / "core.img"
    first.write_text(_FIRST)
    memory.write_bytes(_archive(menu.encode()))
    run(["grub-mkimage", "--directory", MODULES, "--format", "i386-pc", "--prefix", "(memdisk)", "--config", first,
         "--memdisk", memory, "--output", core, *_NEEDED, *drivers_of(filesystem)])  # fmt: skip
    return core.read_bytes()


def sectors_of(core: bytes) -> int:
    """Return the number of sectors of a core image."""
    return -(-len(core) // SECTOR)


def lay_out(core: bytes, at: int) -> bytes:
    """Return the core image as it lies on the disk from sector ``at`` on, padded to whole sectors."""
    rest = sectors_of(core) - 1
    image = bytearray(core.ljust((rest + 1) * SECTOR, b"\0"))
    if image[_BLOCK_LIST + 10 : SECTOR] != _LOADED_AT.to_bytes(2, "little"):
        raise TerraError("grub-mkimage made a core image of a kind that Terra does not know", hint="install GRUB 2.06 or 2.12")
    struct.pack_into("<QHH", image, _BLOCK_LIST, at + 1, rest, _LOADED_AT)
    return bytes(image)


def first_sector(boot: bytes, present: bytes, at: int) -> bytes:
    """Return the first sector of a disk whose core image begins at sector ``at``.

    :param boot: GRUB's boot.img.
    :param present: the first sector as it is; its parameter block, signature and partition table stay.
    """
    sector = bytearray(boot[:SECTOR])
    sector[_PARAMETERS] = present[_PARAMETERS]
    struct.pack_into("<Q", sector, _CORE_SECTOR, at)
    # The check is for BIOSes that pass a wrong drive; like GRUB, this has it for diskettes only.
    sector[_DRIVE_CHECK : _DRIVE_CHECK + 2] = _NO_OPERATION
    sector[_CODE_END:] = present[_CODE_END:SECTOR]
    return bytes(sector)


def embed(device: Path, core: bytes, at: int, sectors: int) -> None:
    """Write the boot loader to a disk: the core image first, then the sector that loads it.

    :param at: the first sector of the area that is GRUB's.
    :param sectors: how many it has.
    :raises TerraError: when the area is too small, or the disk cannot be written.
    """
    require_room(device, core, sectors)
    boot = (MODULES / "boot.img").read_bytes()
    try:
        descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
        try:
            present = os.pread(descriptor, SECTOR, 0)
            os.pwrite(descriptor, lay_out(core, at), at * SECTOR)
            os.fsync(descriptor)
            os.pwrite(descriptor, first_sector(boot, present, at), 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise TerraError(f"{device}: the boot loader cannot be written: {error.strerror}") from error


def require_room(device: Path, core: bytes, sectors: int) -> None:
    """Refuse an area that is too small for a core image.

    :raises TerraError: with both sizes.
    """
    if sectors_of(core) > sectors:
        raise TerraError(
            f"{device}: there are {sectors} sectors for the boot loader, and it needs {sectors_of(core)}",
            hint="begin the first partition at sector 2048 or later, or make a BIOS boot partition of 1 MiB",
        )


def _archive(menu: bytes) -> bytes:
    made = BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        info = tarfile.TarInfo("grub.cfg")
        info.size = len(menu)
        archive.addfile(info, BytesIO(menu))
    return made.getvalue()
