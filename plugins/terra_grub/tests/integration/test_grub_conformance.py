"""What the contract promises of a boot loader."""

from __future__ import annotations

from terra_core.config.node import Firmware
from terra_core.testing import BootloaderConformance
from terra_grub import plugin as grub


class TestBootloader(BootloaderConformance):
    """By BIOS and by UEFI, each alone; where a promise is of any firmware, by both."""

    plugin = grub
    name = "grub"
    firmwares = (Firmware.BIOS, Firmware.UEFI)
