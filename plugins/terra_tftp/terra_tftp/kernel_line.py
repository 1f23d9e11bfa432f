"""The kernel line of a machine that boots over the network."""

from __future__ import annotations

from collections.abc import Sequence

from terra_core.config.kernel_line import is_argument, join_arguments
from terra_core.config.values import Mac

__all__ = ["bootif", "is_argument", "kernel_line"]


def bootif(mac: Mac) -> str:
    """How pxelinux names an interface: the hardware type of Ethernet, and the address with hyphens.

    It is both the name of a menu and the value of the argument BOOTIF, which initramfs-tools(7) takes the device from.
    """
    return "01-" + mac.replace(":", "-")


def kernel_line(mac: Mac, node_arguments: Sequence[str], configured: Sequence[str]) -> str:
    """The kernel line: what network boot needs, what the node needs, what ``[tftp]`` adds.

    :raises TerraError: for an argument that is not one, and for a line that is too long for a kernel.
    """
    return join_arguments(["ip=dhcp", f"BOOTIF={bootif(mac)}", *node_arguments, *configured])
