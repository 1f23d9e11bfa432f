"""The hardware of a machine of the lab, as arguments of QEMU."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import count
from pathlib import Path

from attrs import frozen

from terra_core.errors import TerraError
from terra_core.system.emulator import acceleration, option

_OVMF = Path("/usr/share/OVMF")


class Firmware(StrEnum):
    """What a machine starts with; ``secure`` is UEFI with Secure Boot on and Microsoft's keys, as most servers are sold."""

    BIOS = "bios"
    UEFI = "uefi"
    SECURE = "secure"


_FLASH = {
    Firmware.UEFI: (("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"), ("OVMF_CODE.fd", "OVMF_VARS.fd")),
    Firmware.SECURE: (("OVMF_CODE_4M.ms.fd", "OVMF_VARS_4M.ms.fd"), ("OVMF_CODE.ms.fd", "OVMF_VARS.ms.fd")),
}
# Only code in system management mode may write the variables then, or an operating system could switch Secure Boot off.
_GUARDED = ("-global", "driver=cfi.pflash01,property=secure,value=on", "-global", "ICH9-LPC.disable_s3=1")


class Drive(StrEnum):
    """What an installation medium is put into."""

    CD = "cd"
    USB = "usb"


@frozen(kw_only=True)
class Medium:
    """An installation medium, which the machine starts from where its own disks have nothing to start.

    :param image: the file; it is only read.
    :param drive: what it is put into.
    """

    image: Path
    drive: Drive = Drive.CD


class Bus(StrEnum):
    """What a disk is plugged into, which gives it its name in Linux: ``/dev/vda``, ``/dev/sda``, ``/dev/nvme0n1``."""

    VIRTIO = "virtio-blk-pci"
    SATA = "ide-hd"
    NVME = "nvme"


@frozen
class HardDisk:
    """A disk of a machine.

    :param image: the file with its content, as it is (raw).
    :param bus: what it is plugged into.
    :param sector_size: of its logical blocks, in bytes.
    """

    image: Path
    bus: Bus = Bus.VIRTIO
    sector_size: int = 512


@frozen(kw_only=True)
class Hardware:
    """One machine.

    :param mac: the address of its network interface, with colons.
    :param firmware: what it starts with.
    :param memory: in MB.
    :param network_first: let it try the network before its disks.
    """

    mac: str
    firmware: Firmware
    memory: int
    network_first: bool = False

    def arguments(
        self, *, tap: str, serial: Path, directory: Path, disks: Sequence[HardDisk] = (), medium: Medium | None = None
    ) -> list[str]:
        """Return the arguments that start it: no screen, no default devices; a monitor (QMP) at ``directory/qmp``.

        It stands still until its monitor is told ``cont``, so that nothing it says there is lost. QEMU ends when the machine
        starts again, and its console is appended to: the same arguments start it the next time.

        :param tap: the device that its interface is plugged into.
        :param serial: the file for its serial console.
        :param directory: where its monitor's socket and its firmware's variables are kept.
        :param disks: it boots from the first one that it can, and from the network first when there is none or it is told to.
        :param medium: what it boots from where no disk can be.
        :raises TerraError: when the firmware is not installed.
        """
        accelerator = os.environ.get("ACCEL", "tcg")
        # QEMU's default is iPXE, which a BIOS needs; UEFI has a network boot of its own, as a real machine does.
        own = bool(disks or medium) and not self.network_first
        bios = self.firmware is Firmware.BIOS
        rom = ",romfile=" if own or not bios else ""
        order = "" if own else f",bootindex={0 if self.network_first else 1}"
        secure = self.firmware is Firmware.SECURE
        ports = (f",bus=ide.{port}" for port in count())
        return [
            *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            # Without a screen, the firmware and the boot loader use the serial console.
            *("-machine", f"q35,graphics=off{',smm=on' if secure else ''}", *acceleration(accelerator)),
            *("-m", str(self.memory), "-device", "virtio-rng-pci"),
            *("-netdev", f"tap,id=lan,ifname={tap},script=no,downscript=no"),
            *("-device", f"virtio-net-pci,netdev=lan,mac={self.mac}{order}{rom}"),
            *(word for at, disk in enumerate(disks) for word in _disk(at, disk, ports)),
            *(_medium(medium, len(disks) + 1, ports) if medium else ()),
            *("-chardev", f"file,id=console,path={option(serial)},append=on", "-serial", "chardev:console"),
            *("-qmp", f"unix:{directory / 'qmp'},server=on,wait=off", "-S"),
            *(() if bios else _flash(directory, self.firmware)),
            *(_GUARDED if secure else ()),
        ]


def _disk(at: int, disk: HardDisk, ports: Iterator[str]) -> list[str]:
    """Return a disk's arguments; what the guest writes is lost when the host fails, and not when the guest does."""
    port = next(ports) if disk.bus is Bus.SATA else ""
    blocks = f",logical_block_size={disk.sector_size},physical_block_size={disk.sector_size}" if disk.sector_size != 512 else ""
    return [
        *("-drive", f"if=none,id=disk{at},format=raw,cache=unsafe,discard=unmap,file={option(disk.image)}"),
        *("-device", f"{disk.bus},drive=disk{at},bootindex={at + 1},serial=disk{at}{port}{blocks}"),
    ]


def _medium(medium: Medium, order: int, ports: Iterator[str]) -> list[str]:
    drive = ["-drive", f"if=none,id=medium,format=raw,readonly=on,file={option(medium.image)}"]
    if medium.drive is Drive.CD:
        return [*drive, "-device", f"ide-cd,drive=medium,bootindex={order}{next(ports)}"]
    stick = f"usb-storage,drive=medium,bootindex={order},removable=on"
    return [*drive, "-device", "qemu-xhci", "-device", stick]


def _flash(directory: Path, firmware: Firmware) -> list[str]:
    """Return the arguments for the firmware, which all machines share, and for a copy of its variables."""
    for code, variables in _FLASH[firmware]:
        if (_OVMF / code).exists():
            own = Path(shutil.copyfile(_OVMF / variables, directory / "variables.fd"))
            return [
                *("-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={_OVMF / code}"),
                *("-drive", f"if=pflash,unit=1,format=raw,file={own}"),
            ]
    raise TerraError(f"{_OVMF}: no UEFI firmware for virtual machines", hint="install the package ovmf")
