"""The kernel line, whatever boots the machine: the boot menus of every plugin are written from the same words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NewType

from terra_core.config.values import Mac, shown
from terra_core.errors import TerraError

KernelArgument = NewType("KernelArgument", str)
"""A further word of a machine's kernel line."""

_ARGUMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:,/=+@%-]{0,511}")
_LIMIT = 2047
"""What Linux on x86 takes (COMMAND_LINE_SIZE), its closing NUL aside; boot loaders take no longer lines either."""

_TERRAS = frozenset({"BOOTIF", "boot", "ip", "root", "rootflags", "rootfstype"})
"""What Terra says of every machine, beside the words that begin with ``terra.``."""


def is_argument(text: str) -> bool:
    """Return whether ``text`` is one kernel argument, in characters that no boot menu gives a meaning to."""
    return _ARGUMENT.fullmatch(text) is not None


def parse_kernel_argument(raw: object) -> KernelArgument:
    """Parse a further word of a kernel line, such as ``console=ttyS1``; refuse those by which a machine finds its root."""
    if not isinstance(raw, str) or not is_argument(raw):
        expected = "one kernel argument of letters, digits and ._:,/=+@%-, beginning with a letter or digit"
        raise ValueError(f"expected {expected}, got {shown(raw)}")
    if raw.startswith("terra.") or raw.partition("=")[0] in _TERRAS:
        raise ValueError(f"{shown(raw)} is a word that Terra says itself")
    return KernelArgument(raw)


def require_further(further: Sequence[str], own: Sequence[str]) -> None:
    """Refuse further words of a kernel line that have the names of those by which a machine finds its disks.

    :raises TerraError: naming one.
    """
    names = {word.partition("=")[0] for word in own}
    for word in further:
        if word.partition("=")[0] in names:
            raise TerraError(f"kernel_arguments: {shown(word)} is a word that Terra says itself", hint="leave it away")


def join_arguments(arguments: Sequence[str]) -> str:
    """Return the kernel line of ``arguments``.

    :raises TerraError: for an argument that is not one, and for a line that is too long for a kernel.
    """
    for argument in arguments:
        if not is_argument(argument):
            raise TerraError(
                f"{shown(argument)} cannot be a kernel argument",
                hint="kernel arguments begin with a letter or digit and hold letters, digits and ._:,/=+@%-",
            )
    line = " ".join(arguments)
    if len(line) > _LIMIT:
        raise TerraError(f"the kernel line would have {len(line)} characters, and a kernel takes {_LIMIT}: {shown(line)}")
    return line


def bootif(mac: Mac) -> str:
    """Return how the kernel argument BOOTIF names an interface: the hardware type of Ethernet, and the address with hyphens.

    initramfs-tools(7) takes the device from it; PXE boot loaders name the menus of machines in the same way.
    """
    return "01-" + mac.replace(":", "-")


def network_arguments(mac: Mac) -> tuple[str, ...]:
    """Return what lets an initial RAM disk configure the interface that a machine has booted from, by DHCP."""
    return ("ip=dhcp", f"BOOTIF={bootif(mac)}")
