"""The boot loaders, which the pxe image brings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import BinaryIO

from terra_core.config.controller import Paths
from terra_core.errors import TerraError
from terra_core.system.progress import Event, Report
from terra_core.system.undo import Undo
from terra_tftp.files import (
    copy_file,
    make_directory,
    make_private_directory,
    open_inside,
    read_file,
    remove_file,
    write_file,
)
from terra_tftp.tree import INITRD, KERNEL

BIOS_LOADER = "pxelinux.0"
UEFI_LOADER = "shimx64.efi"

_REQUIRED = (BIOS_LOADER, "ldlinux.c32", UEFI_LOADER, "grubx64.efi")
_PAIR = (KERNEL, INITRD)
_MANIFEST = "tftp-loaders.json"
"""The list of files of the installed pxe image, so that the next image removes those that it does not have."""


def install(tree: Path, paths: Paths, report: Report) -> list[str]:
    """Copy the boot loaders, and the kernel for images that have none, from the unpacked pxe image at ``tree``.

    Nothing is replaced before all of it has been found right, and what the image has besides is left alone.

    :returns: what it brought, relative to the boot tree.
    :raises TerraError: naming what is missing or is not a regular file.
    """
    with Undo() as opened:
        files = {name: opened.enter_context(open_inside(tree, name)) for name in (*_REQUIRED, *_PAIR)}
        found = {name: file for name, file in files.items() if file is not None}
        _check(found)
        make_private_directory(paths.state)
        manifest = paths.state / _MANIFEST
        former = _names(read_file(manifest))
        # The manifest is written before the files: a killed run leaves no file that no manifest lists.
        write_file(manifest, json.dumps(sorted(former | set(found))))
        _copy(found, paths.tftp, report)
        for name in former - set(found):
            remove_file(paths.tftp / name)
        write_file(manifest, json.dumps(sorted(found)))
    return sorted(found)


def missing_loaders(root: Path) -> list[str]:
    """Return the boot loaders that the boot tree at ``root`` lacks."""
    return [name for name in _REQUIRED if not (root / name).is_file()]


def _check(found: dict[str, BinaryIO]) -> None:
    missing = [name for name in _REQUIRED if name not in found]
    if missing:
        raise TerraError(
            f"this is no pxe image: it has no {', no '.join(missing)}",
            hint="build one with `make release`, and give its name to `terra pxe`",
        )
    if len([name for name in _PAIR if name in found]) == 1:
        raise TerraError(f"the pxe image has one of {KERNEL} and {INITRD}, and neither is of use without the other")


def _copy(found: dict[str, BinaryIO], root: Path, report: Report) -> None:
    for number, (name, file) in enumerate(found.items()):
        report(Event("boot", f"installing {name}", number, len(found), "files"))
        make_directory((root / name).parent)
        copy_file(file, root / name)
    report(Event("boot", "the boot loaders are installed", len(found), len(found), "files"))


def _names(manifest: str | None) -> set[str]:
    """Return a manifest's names, of those that a pxe image can have brought: no other file is ever removed."""
    try:
        names = json.loads(manifest or "[]")
    except ValueError:
        return set()
    return {name for name in (*_REQUIRED, *_PAIR) if isinstance(names, list) and name in names}
