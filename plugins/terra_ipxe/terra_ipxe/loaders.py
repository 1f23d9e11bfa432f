"""What machines load first: iPXE, which a package of this machine brings, and the kernel of the pxe image."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from terra_core.errors import TerraError
from terra_core.system.progress import Event, Report
from terra_core.system.undo import Undo
from terra_tftp.configuration import Loaders
from terra_tftp.files import copy_file, make_directory, open_inside, write_file
from terra_tftp.tree import INITRD, KERNEL

BIOS_LOADER = "undionly.kpxe"
UEFI_LOADER = "snponly.efi"
"""Each uses the interface that the firmware has booted from, and no other."""
_LOADERS = (BIOS_LOADER, UEFI_LOADER)
_KNOWN = "terra.txt"
_EFI_MAGIC = b"MZ"


def loaders_of(root: Path, script: str) -> Loaders:
    """Return what firmware loads from ``root``.

    :param script: what iPXE is told to load, see :class:`terra_tftp.configuration.Loaders`.
    """
    return Loaders(root=root, known=_KNOWN, bios=BIOS_LOADER, uefi=UEFI_LOADER, script=script)


def prepare(root: Path) -> None:
    """Make the directory that is served by TFTP, with the file by which the service is known to answer."""
    make_directory(root)
    write_file(root / _KNOWN, "The boot loaders of Terra.\n")


def missing_loaders(root: Path) -> list[str]:
    """Return the boot loaders that are not installed."""
    return [name for name in _LOADERS if not (root / name).is_file()]


def refresh(source: Path, root: Path) -> None:
    """Copy iPXE to ``root`` where this machine has it and it is not the one there; what cannot be used is left for later."""
    if any(_differs(source / name, root / name) for name in _LOADERS) and not missing_loaders(source):
        install_loaders(source, root)


def install_loaders(source: Path, root: Path) -> list[str]:
    """Copy iPXE from this machine's ``source`` to ``root``; nothing is replaced before all of it has been found right.

    :raises TerraError: naming what is missing or is no boot loader.
    """
    with Undo() as opened:
        files: dict[str, BinaryIO] = {}
        for name in _LOADERS:
            file = opened.enter_context(open_inside(source, name))
            if file is None:
                raise TerraError(
                    f"{source}: this machine has no iPXE for others: {name} is not there",
                    hint="install it with: apt-get install ipxe, or set loaders in [ipxe] to the directory that has it",
                )
            if name == UEFI_LOADER and os.pread(file.fileno(), len(_EFI_MAGIC), 0) != _EFI_MAGIC:
                raise TerraError(f"{source / name}: is no program for UEFI")
            files[name] = file
        for name, file in files.items():
            copy_file(file, root / name)
    return list(files)


def install_kernel(tree: Path, root: Path, report: Report) -> list[str]:
    """Copy the kernel for images that have none from the unpacked pxe image at ``tree``.

    :raises TerraError: naming what is missing or is not a regular file.
    """
    with Undo() as opened:
        files = {name: opened.enter_context(open_inside(tree, name)) for name in (KERNEL, INITRD)}
        missing = [name for name, file in files.items() if file is None]
        if missing:
            raise TerraError(
                f"this is no pxe image: it has no {', no '.join(missing)}",
                hint="build one with `make release`, and give its name to `terra pxe`",
            )
        for number, (name, file) in enumerate(files.items()):
            report(Event("boot", f"installing {name}", number, len(files), "files"))
            if file is not None:
                make_directory((root / name).parent)
                copy_file(file, root / name)
    report(Event("boot", "the kernel of the pxe image is installed", len(files), len(files), "files"))
    return list(files)


def _differs(source: Path, installed: Path) -> bool:
    """Return whether another file was installed, by sizes and times alone: this is asked every few seconds."""
    try:
        ours, theirs = source.stat(), installed.stat()
    except FileNotFoundError:
        return True
    return ours.st_size != theirs.st_size or ours.st_mtime_ns > theirs.st_mtime_ns
