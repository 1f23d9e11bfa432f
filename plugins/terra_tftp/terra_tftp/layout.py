"""What pxelinux and GRUB read in the boot tree.

::

    pxelinux.cfg/default                    what a machine without a menu gets, BIOS
    pxelinux.cfg/01-54-b2-03-07-f1-d1       a machine's menu, BIOS
    grub/grub.cfg                           what GRUB reads first, UEFI
    grub/54:b2:03:07:f1:d1.cfg              a machine's menu, UEFI
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from terra_core.config.kernel_line import bootif
from terra_core.config.values import Hostname, Mac
from terra_tftp.configuration import Loaders
from terra_tftp.loaders import BIOS_LOADER, UEFI_LOADER, missing_loaders
from terra_tftp.menus import Entry, grub_menu, grub_start, heading, pxelinux_default, pxelinux_menu

_DEFAULT = "pxelinux.cfg/default"


def loaders_of(root: Path) -> Loaders:
    """Return what firmware loads from the boot tree at ``root``, which is served as a whole."""
    return Loaders(root=root, known=_DEFAULT, bios=BIOS_LOADER, uefi=UEFI_LOADER)


class MenuLayout:
    """See :class:`terra_tftp.tree.Layout`."""

    def common(self) -> Mapping[str, str]:
        return {_DEFAULT: pxelinux_default(), "grub/grub.cfg": grub_start()}

    def menus(self, mac: Mac) -> Sequence[str]:
        return (f"pxelinux.cfg/{bootif(mac)}", f"grub/{mac}.cfg")

    def texts(self, entry: Entry) -> Sequence[str]:
        return (pxelinux_menu(entry), grub_menu(entry))

    def heading(self, hostname: Hostname) -> str:
        return heading(hostname)

    def node(self, hostname: Hostname) -> str:
        return hostname

    def hostname(self, node: str) -> Hostname:
        return Hostname(node)

    def missing(self, root: Path) -> Sequence[str]:
        return missing_loaders(root)
