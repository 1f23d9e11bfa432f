"""What QEMU needs to run a machine fast, and whether that works here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from terra_core.errors import TerraError

_KVM = Path("/dev/kvm")
# Five levels of page tables and "fast" string moves are what emulation is slowest at: they double the time of a boot.
_EMULATED = "max,la57=off,erms=off"
_MOST_PROCESSORS = 4


def acceleration(name: str) -> list[str]:
    """QEMU's arguments for an accelerator, with the processors that go with it.

    An emulated machine has one: of two, one goes on now and then with what QEMU (7.2) has translated before the kernel changed
    its own code, traps for ever, and the machine hangs at its start. A boot of a minute takes up to half as long again for it.

    :param name: ``kvm``, ``tcg`` (emulation), or another that QEMU knows.
    """
    if name == "kvm":
        return ["-accel", name, "-cpu", "host", "-smp", str(min(os.cpu_count() or 1, _MOST_PROCESSORS))]
    return ["-accel", name, "-cpu", _EMULATED, "-smp", "1"]


def accelerators() -> Sequence[str]:
    """What to try, the fastest first: KVM where its device may be used, which is not yet to say that machines run on it."""
    return ("kvm", "tcg") if os.access(_KVM, os.R_OK | os.W_OK) else ("tcg",)


def option(path: Path) -> str:
    """A path as part of an option: a comma ends one, two stand for one."""
    return str(path).replace(",", ",,")


def program(architecture: str) -> str:
    """The program that emulates a PC or a server of this architecture.

    :param architecture: as the Go language names it.
    :raises TerraError: for one that Terra boots no machines of.
    """
    if architecture != "amd64":
        raise TerraError(f"machines of {architecture} are not emulated", hint="try the image as a container: --test=container")
    return "qemu-system-x86_64"
