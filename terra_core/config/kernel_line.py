"""The kernel line, whatever boots the machine: the boot menus of every plugin are written from the same words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from terra_core.config.values import Mac, shown
from terra_core.errors import TerraError

_ARGUMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:,/=+@%-]{0,511}")
_LIMIT = 2047
"""What Linux on x86 takes (COMMAND_LINE_SIZE), its closing NUL aside; boot loaders take no longer lines either."""


def is_argument(text: str) -> bool:
    """Return whether ``text`` is one kernel argument, in characters that no boot menu gives a meaning to."""
    return _ARGUMENT.fullmatch(text) is not None


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
