"""The arguments with which QEMU runs a machine fast on this host."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from terra_core.errors import TerraError
from terra_core.system.process import run

_KVM = Path("/dev/kvm")
_SLOW = ("la57", "erms", "fsrm")
"""What emulation is slowest at: five levels of page tables, and "fast" string moves; a boot takes two to four times as long."""
_MOST_PROCESSORS = 4


def acceleration(name: str, qemu: str = "qemu-system-x86_64") -> list[str]:
    """Return QEMU's arguments for an accelerator, with the processors that go with it.

    An emulated machine has one processor: with two, QEMU (7.2) sometimes runs code on one that it translated before the kernel
    changed that code, and the machine hangs at its start. A boot of a minute takes up to half as long again with one.

    :param name: ``kvm``, ``tcg`` (emulation), or another that QEMU knows.
    :param qemu: the program that will get them.
    """
    if name == "kvm":
        return ["-accel", name, "-cpu", "host", "-smp", str(min(os.cpu_count() or 1, _MOST_PROCESSORS))]
    return ["-accel", name, "-cpu", emulated_processor(_cpu_help(qemu)), "-smp", "1"]


def emulated_processor(cpu_help: str) -> str:
    """Return the processor that is emulated fastest, for ``-cpu``: every feature that QEMU has, without the slow ones.

    :param cpu_help: what ``-cpu help`` prints; QEMU refuses to switch off what it does not list.
    """
    listed = set(cpu_help.split())
    return ",".join(["max", *(f"{flag}=off" for flag in _SLOW if flag in listed)])


@cache
def _cpu_help(qemu: str) -> str:
    return run([qemu, "-cpu", "help"]).text


def accelerators() -> Sequence[str]:
    """Return the accelerators to try, the fastest first; KVM is among them if its device opens, and may still fail."""
    return ("kvm", "tcg") if os.access(_KVM, os.R_OK | os.W_OK) else ("tcg",)


def option(path: Path) -> str:
    """Return a path as the value of an option of QEMU, with its commas doubled."""
    return str(path).replace(",", ",,")


def program(architecture: str) -> str:
    """Return the name of the program that emulates a machine of this architecture.

    :param architecture: as the Go language names it.
    :raises TerraError: for one that Terra boots no machines of.
    """
    if architecture != "amd64":
        raise TerraError(f"machines of {architecture} are not emulated", hint="try the image as a container: --test=container")
    return "qemu-system-x86_64"
