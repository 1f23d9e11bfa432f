"""What the contract promises of a boot loader."""

from __future__ import annotations

from terra_core.testing import BootloaderConformance
from terra_grub import plugin as grub


class TestBootloader(BootloaderConformance):
    """By BIOS, by UEFI and by both."""

    plugin = grub
    name = "grub"
