"""Machines with terra.iso in them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab.hardware import HardDisk, Medium
from lab.machine import Machine
from lab.site import Site

BOOT_SECONDS = 900
MEMORY = 1024
"""What the README says that the live system needs, in MB."""


def say(line: str) -> None:
    """Print a line about what takes its time; pytest shows it when a test fails."""
    print(line, file=sys.stderr)  # noqa: T201  # as said above


@contextmanager
def started(
    site: Site, number: int, firmware: str, medium: Medium, disks: Sequence[HardDisk] = (), memory: int = MEMORY
) -> Iterator[Machine]:
    """Start a machine with a medium in it.

    :param number: of the machine, for its address: below 256.
    :param memory: in MB.
    """
    serial = site.directory / f"serial/iso-{firmware}-{medium.drive}-{number}.log"
    with Machine(
        site.network, f"52:54:00:00:0d:{number:02x}", serial, firmware=firmware, medium=medium, disks=disks, memory=memory
    ) as machine:
        yield machine


def address_of(machine: Machine) -> str:
    """Return the address that a machine's greeting shows, once it does."""
    return machine.wait_for_match(r"e(?:th|np|ns)[0-9a-z]+ +(10\.0\.10\.[0-9]+)", seconds=BOOT_SECONDS)[1]


def let_in(machine: Machine, site: Site, hostname: str, key: Path) -> None:
    """Wait until a machine that was installed has started from its disk, and log in to it."""
    machine.wait_for_match(f"{hostname} login:", seconds=BOOT_SECONDS)
    address = machine.wait_for_address(site.leases, seconds=BOOT_SECONDS)
    machine.wait_for_ssh(address, "terra", key, seconds=BOOT_SECONDS)
