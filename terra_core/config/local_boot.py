"""What an installed machine boots from its own disks, and which of its versions."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from terra_core.config.node import Firmware
from terra_core.config.values import Hostname


@frozen(kw_only=True)
class BootDisk:
    """A disk that an installed machine may start from.

    :param device: the whole disk.
    :param core_sector: the first sector of the area that a boot loader for a BIOS may use; ``None`` when none is wanted.
    :param core_sectors: the length of that area, in sectors.
    :param sector_size: in bytes.
    :param esp: the block device of its EFI system partition, which is Terra's own; ``None`` when none is wanted. A disk that a
        BIOS alone starts has one as well: the boot loader keeps there what it starts, see :meth:`Bootloader.read_choice`.
    :param esp_number: the number of that partition.
    """

    device: Path
    core_sector: int | None = None
    core_sectors: int = 0
    sector_size: int = 512
    esp: Path | None = None
    esp_number: int = 0


@frozen(kw_only=True)
class LocalBoot:
    """What an installed machine boots from its own disks. A text that is not known yet is empty.

    :param disks: the disks that the machine starts from; each must be able to start it alone.
    :param filesystem: the UUID of the file system that the root is on.
    :param type: the type of that file system, as in mount(8).
    :param root: the path of the machine's root within that file system, without a leading slash; empty when it is the whole.
    :param kernel: the path of the kernel in the root, such as ``boot/vmlinuz-6.1.0``.
    :param initrd: the path of its initial RAM disk.
    :param steps: the path of the archive with the machine's boot steps, to be loaded after any initial RAM disk.
    :param kernel_arguments: the kernel line, beyond what the boot loader adds for the consoles.
    """

    hostname: Hostname
    disks: tuple[BootDisk, ...]
    firmware: Firmware
    filesystem: str = ""
    type: str = ""
    root: str = ""
    kernel: str = ""
    initrd: str = ""
    steps: str = ""
    kernel_arguments: tuple[str, ...] = ()


@frozen(kw_only=True)
class StartChoice:
    """Which version of the system a disk starts by itself. A version is the name of a root at the top of its file system.

    :param kept: the version that is started; the one that was installed first when empty.
    :param once: the version that the next start tries, and none after it; empty when there is none.
    :param tried: the version whose try has begun, and which nobody has judged yet; empty when there is none.
    """

    kept: str = ""
    once: str = ""
    tried: str = ""
