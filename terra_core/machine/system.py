"""What boot steps bring into the root of a machine."""

from __future__ import annotations

import re
from collections.abc import Sequence

from terra_core.errors import TerraError
from terra_core.hookspecs import RenderedFile, RenderedLink
from terra_core.image.contained import ContainedRoot

STEPS = "boot/terra-steps.img"
"""The path of the archive with the boot steps of a machine that starts from its own disks."""
HOOK = "etc/initramfs-tools/hooks/terra-steps"
"""The path of what :func:`render_hook` returns."""
_PATH = re.compile(r"(?:[^/\0]+/)*[^/\0]+")


def check_system(entries: Sequence[RenderedFile | RenderedLink]) -> None:
    """Check that what is to be written has places in a root.

    :raises TerraError: naming the first that has none.
    """
    for entry in entries:
        parts = entry.path.split("/")
        if not _PATH.fullmatch(entry.path) or not entry.path.isprintable() or {".", ".."} & set(parts):
            raise TerraError(f"{entry.path!r} is no path of a file in a machine")
        if isinstance(entry, RenderedLink) and (not entry.target or not entry.target.isprintable()):
            raise TerraError(f"{entry.path}: {entry.target!r} is nothing that a link can point to")
        if isinstance(entry, RenderedFile) and entry.owner not in ("root", "root:root"):
            raise TerraError(f"{entry.path}: belongs to {entry.owner}, and files of boot steps belong to root")


def write_system(entries: Sequence[RenderedFile | RenderedLink], inside: ContainedRoot) -> None:
    """Write files and links into a root, whatever links its image has.

    :raises TerraError: naming the one that cannot be written.
    """
    check_system(entries)
    for entry in entries:
        if isinstance(entry, RenderedLink):
            inside.link(entry.path, entry.target)
        else:
            inside.write(entry.path, entry.content, mode=entry.mode)


def render_hook(modules: Sequence[str]) -> RenderedFile:
    """Return the hook of initramfs-tools(7) that puts kernel modules into the RAM disks of kernels that are installed later.

    The archive of a machine's boot steps has modules of the kernel that its image came with.
    """
    text = f"""\
#!/bin/sh
# Written by Terra: what the boot steps of this machine load.
[ "$1" != prereqs ] || exit 0
. /usr/share/initramfs-tools/hook-functions
manual_add_modules {" ".join(modules)}
"""
    return RenderedFile(path=HOOK, content=text.encode(), mode=0o755)
