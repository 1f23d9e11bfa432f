"""Boot menus, for pxelinux (BIOS) and GRUB (UEFI). Pure: nothing here reads or writes a file.

Every menu of a machine begins with :func:`heading`, which tells whose it is.
"""

from __future__ import annotations

from attrs import frozen

from terra_core.config.values import Hostname

_STRANGER = "Terra has no disk for this machine: its MAC address is not provisioned."
_PATIENCE = 5
"""Seconds that a message stays, before a machine goes on."""
_PAUSE = 60
"""Seconds before a machine that has nothing to boot asks again."""
_LOADERS = (
    "(*)/EFI/*/shimx64.efi",
    "(*)/EFI/*/shim.efi",
    "(*)/EFI/*/grubx64.efi",
    "(*)/EFI/Microsoft/Boot/bootmgfw.efi",
    "(*)/EFI/systemd/systemd-bootx64.efi",
    "(*)/EFI/BOOT/BOOTX64.EFI",
)
"""Where systems put their boot loaders, on any disk; the fallback comes last, as it may be one that repairs boot entries."""


@frozen(kw_only=True)
class Entry:
    """What a menu boots.

    :param hostname: the machine.
    :param kernel: the kernel, by its path in the boot tree.
    :param initrds: the initial RAM disk and what is loaded after it, by their paths in the boot tree.
    :param line: the kernel line, of arguments that :func:`terra_core.config.kernel_line.is_argument` knows.
    """

    hostname: Hostname
    kernel: str
    initrds: tuple[str, ...]
    line: str


def heading(hostname: Hostname) -> str:
    """Return the first line of a machine's menus."""
    return f"# {hostname}\n"


def pxelinux_menu(entry: Entry) -> str:
    """Return the menu of one machine, for pxelinux."""
    return (
        heading(entry.hostname) + f"SAY Terra: {entry.hostname} boots over the network\n"
        "DEFAULT terra\n"
        "PROMPT 0\n"
        "LABEL terra\n"
        f"  LINUX {entry.kernel}\n"
        f"  INITRD {','.join(entry.initrds)}\n"
        f"  APPEND {entry.line}\n"
    )


def grub_menu(entry: Entry) -> str:
    """Return the menu of one machine, for GRUB."""
    return (
        heading(entry.hostname) + f'echo "Terra: {entry.hostname} boots over the network"\n'
        f"linux /{entry.kernel} {entry.line}\n"
        f"initrd {' '.join(f'/{initrd}' for initrd in entry.initrds)}\n"
        "boot\n"
        f'echo "Terra: {entry.hostname} could not be booted; it tries again"\n'
        f"sleep {_PATIENCE}\n"
        "reboot\n"
    )


def pxelinux_default() -> str:
    """Return the menu of every machine without one of its own: a message, then the next boot device."""
    return (
        "# any other machine\n"
        f"SAY {_STRANGER}\n"
        "SAY It goes on with its next boot device.\n"
        "DEFAULT next\n"
        "PROMPT 1\n"
        f"TIMEOUT {_PATIENCE * 10}\n"
        "LABEL next\n"
        "  LOCALBOOT 0\n"
    )


def grub_start() -> str:
    """Return what GRUB reads first: the machine's own menu, or a message and the boot loader on one of its disks.

    GRUB can't ask a TFTP server whether a file exists; ``configfile`` goes on with the next line when it does not. And it can't
    make the firmware go on with its next boot entry: Debian's signed GRUB ignores the number that ``exit`` is given and ends
    well, which ends the boot order (UEFI specification, 3.1.1) in the firmware's setup menu, for ever. So it starts a boot
    loader on the machine's disks; without one, it asks again, as the machine may be provisioned by then.
    """
    return (
        "set timeout=0\n"
        "configfile /grub/${net_default_mac}.cfg\n"
        f'echo "{_STRANGER}"\n'
        'echo "It goes on with its own disk."\n'
        f"sleep {_PATIENCE}\n"
        f"for loader in {' '.join(_LOADERS)}; do\n"
        '  if [ -f "$loader" ]; then\n'
        # The loader reads its files from root, which is still the network.
        "    regexp --set=1:root --set=2:file '^\\(([^)]*)\\)(.*)$' \"$loader\"\n"
        '    if chainloader "$file"; then boot; fi\n'
        "  fi\n"
        "done\n"
        f'echo "It has no boot loader on a disk. It asks again in {_PAUSE} seconds."\n'
        f"sleep {_PAUSE}\n"
        "reboot\n"
    )
