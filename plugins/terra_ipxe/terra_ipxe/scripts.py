"""iPXE's scripts. Pure: nothing here reads or writes a file.

A script is a list of commands, one a line (https://ipxe.org/scripting); ``${`` begins a setting. The values in a script are
host names, MAC addresses and kernel arguments of :func:`terra_core.config.kernel_line.is_argument`, none of which has a special
character.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from terra_core.config.kernel_line import bootif, join_arguments
from terra_core.config.values import Hostname, Mac
from terra_tftp.menus import Entry

START = "boot.ipxe"
"""The script that every machine begins with."""
_PATIENCE = 5
"""Seconds that a message stays, before a machine goes on."""


def script_path(mac: Mac) -> str:
    """Return the path of a machine's script, which :func:`start_script` asks for."""
    return f"machines/{bootif(mac)}.ipxe"


def heading(hostname: Hostname) -> str:
    """Return the first lines of a machine's script."""
    return f"#!ipxe\n# {hostname}\n"


def machine_script(entry: Entry) -> str:
    """Return the script of one machine.

    The EFI stub of Linux loads the files that ``initrd=`` names, from the file system that iPXE offers it; a kernel that a BIOS
    starts gets all of them from iPXE and ignores those arguments.

    :raises TerraError: when the kernel line is too long with them.
    """
    named = [(PurePosixPath(path).name, path) for path in entry.initrds]
    line = join_arguments([*(f"initrd={name}" for name, _ in named), *entry.line.split()])
    return (
        heading(entry.hostname) + f"echo Terra: {entry.hostname} boots over the network\n"
        f"kernel --name vmlinuz /{entry.kernel} {line} || goto failed\n"
        + "".join(f"initrd --name {name} /{path} || goto failed\n" for name, path in named)
        + "boot || goto failed\n"
        ":failed\n"
        f"echo Terra: {entry.hostname} could not be booted; it tries again\n"
        f"sleep {_PATIENCE}\n"
        "reboot\n"
    )


def start_script() -> str:
    """Return the script of every machine: its own, or a message and its own disk.

    The interface is the one that iPXE has opened last, by which it got here. A BIOS is asked for its first disk, and goes on
    with its next boot device where that has nothing to boot. UEFI goes on with its next boot entry when this one ends with an
    error (UEFI specification, 3.1.1); one that ends well would end in the firmware's setup menu.
    """
    return (
        "#!ipxe\n"
        "chain --autofree machines/01-${netX/mac:hexhyp}.ipxe ||\n"
        "echo Terra has no disk for this machine: ${netX/mac} is not provisioned.\n"
        "echo It goes on with its own disk.\n"
        f"sleep {_PATIENCE}\n"
        "iseq ${platform} efi && exit 1 ||\n"
        "sanboot --no-describe --drive 0x80 ||\n"
        "exit 0\n"
    )
