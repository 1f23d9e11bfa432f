"""The role ``bootloader``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from terra_core.config.node import Firmware
from terra_core.config.session import Session
from terra_core.config.values import Hostname
from terra_core.hookspecs.machine import RenderedFile
from terra_core.hookspecs.markers import Role, hook


@frozen(kw_only=True)
class BootDisk:
    """A disk that an installed machine may start from.

    :param device: the whole disk.
    :param core_sector: the first sector of the area that a boot loader for a BIOS may use; ``None`` when none is wanted.
    :param core_sectors: the length of that area, in sectors.
    :param sector_size: in bytes.
    :param esp: the block device of its EFI system partition, which is Terra's own; ``None`` when none is wanted.
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
    """What an installed machine boots from its own disks.

    :param disks: the disks that the machine starts from; each must be able to start it alone.
    :param firmware: what starts the boot loader.
    :param filesystem: the UUID of the file system that the root is on; empty while there is none yet.
    :param type: the type of that file system, as mount(8) has it; empty when it is not known.
    :param root: the path of the machine's root within that file system, without a leading slash; empty when it is the whole.
    :param kernel: the path of the kernel in the root, such as ``boot/vmlinuz-6.1.0``; empty while it is not known.
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


class Bootloader(Role, role="bootloader", default="grub"):
    """What starts a machine from its own disks."""

    @hook
    def check_bootloader(self, boot: LocalBoot, session: Session) -> Sequence[str]:
        """Check that :meth:`install_bootloader` can do what ``boot`` says, before anything is written to any disk.

        :param boot: without the UUID of the file system, the kernel, and the block devices that are made later.
        :returns: what will be done, one line each.
        :raises TerraError: when an area is too small, or a program or file is missing on this machine.
        """

    @hook
    def install_bootloader(self, boot: LocalBoot, work: Path, session: Session) -> Sequence[RenderedFile]:
        """Write the boot loader to the disks, so that it starts nothing yet. Idempotent.

        Change nothing on any disk but the areas and partitions that ``boot`` names.

        :param work: an empty directory for temporary files.
        :returns: the files that let it start the machine; core writes them into the root when all else is on the disks.
        :raises TerraError: naming the disk.
        """
