"""GRUB's environment block on an EFI system partition (GRUB's manual, "The GRUB environment block"): what a disk starts.

All that Terra writes is in the first sector of the block, so that a disk has the former one or this one, whatever happens.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from terra_core.config.values import shown
from terra_core.errors import TerraError
from terra_core.hookspecs import StartChoice
from terra_grub.fat import Extent, FatError, extents_of

DIRECTORY, NAME = ("EFI", "terra"), "grubenv"
PLACE = "/".join((*DIRECTORY, NAME))
"""The path of the block on the partition."""
SIZE = 1024
"""What GRUB expects, in bytes."""

KEPT, ONCE, TRIED = "kept", "try", "tried"
"""The variables, as the menus name them."""

VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""A version that can stand in the block and in the menu."""

_SIGNATURE = b"# GRUB Environment Block\n"
_HINT = "an earlier Terra divided the disk, or somebody else: choose the version in the boot menu, or install the machine anew"


def render(choice: StartChoice) -> bytes:
    """Return the block that says which version is started.

    :raises TerraError: for a version that cannot stand there.
    """
    values = {KEPT: choice.kept, ONCE: choice.once, TRIED: choice.tried}
    for value in values.values():
        if value and not VERSION.fullmatch(value):
            hint = "give the version a name of at most 64 letters, digits, dots, hyphens and underscores"
            raise TerraError(f"{shown(value)} cannot be started by itself", hint=hint)
    lines = "".join(f"{name}={value}\n" for name, value in values.items())
    return (_SIGNATURE + lines.encode()).ljust(SIZE, b"#")


def parse(block: bytes) -> StartChoice:
    """Return what a block says; what is no version counts as none, as the menu takes it.

    :raises ValueError: when it is no such block.
    """
    if len(block) != SIZE or not block.startswith(_SIGNATURE):
        raise ValueError("is no environment block of GRUB's")
    pairs = (line.partition("=") for line in block[len(_SIGNATURE) :].decode("ascii", "replace").split("\n"))
    values = {name: value for name, found, value in pairs if found and VERSION.fullmatch(value)}
    return StartChoice(kept=values.get(KEPT, ""), once=values.get(ONCE, ""), tried=values.get(TRIED, ""))


def read(partition: Path) -> StartChoice:
    """Return what the block on a partition says.

    :raises TerraError: when there is none.
    """
    with _opened(partition, os.O_RDONLY) as (descriptor, extents):
        length = sum(extent.length for extent in extents)
        try:
            # A directory may say of a file that it has all of the disk.
            return parse(b"".join(os.pread(descriptor, one.length, one.offset) for one in extents) if length == SIZE else b"")
        except ValueError as error:
            raise TerraError(f"{partition}: /{PLACE} {error}", hint=_HINT) from error


def write(partition: Path, choice: StartChoice) -> None:
    """Write the block on a partition, in place; it is on the disk when this returns.

    :raises TerraError: when there is none, or it cannot be written.
    """
    block = render(choice)
    with _opened(partition, os.O_RDWR) as (descriptor, extents):
        if sum(extent.length for extent in extents) != SIZE:
            raise TerraError(f"{partition}: /{PLACE} has not the {SIZE} bytes of an environment block", hint=_HINT)
        at = 0
        for extent in extents:
            os.pwrite(descriptor, block[at : at + extent.length], extent.offset)
            at += extent.length
        os.fsync(descriptor)


@contextmanager
def _opened(partition: Path, flags: int) -> Iterator[tuple[int, list[Extent]]]:
    try:
        descriptor = os.open(partition, flags | os.O_CLOEXEC)
        try:
            yield descriptor, extents_of((*DIRECTORY, NAME), lambda offset, length: os.pread(descriptor, length, offset))
        finally:
            os.close(descriptor)
    except FatError as error:
        raise TerraError(f"{partition}: the boot loader keeps nothing there: {error}", hint=_HINT) from error
    except OSError as error:
        raise TerraError(f"{partition}: what the machine starts cannot be read or written: {error.strerror}") from error
