"""What the integration tests of the plugin stand on; not part of its wheel."""

from __future__ import annotations

from collections.abc import Callable

from lab.network import CONTROLLER, GATEWAY
from terra_core.config.session import Session
from terra_core.config.values import Address
from terra_core.hookspecs import BootNetwork

CLIENT = "machine"
"""The interface of a machine on the network's bridge."""
BOOT_NETWORK = BootNetwork(address=Address(CONTROLLER), gateway=Address(GATEWAY))

MakeSession = Callable[..., Session]
"""Makes a session with the table ``[tftp]`` that it is given."""


def provide_kernel(session: Session) -> None:
    """Write the files that machines boot whose image has no kernel."""
    for name in ("pxelinux.0", "kernel/vmlinuz", "kernel/initrd.img"):
        (session.paths.tftp / name).parent.mkdir(parents=True, exist_ok=True)
        (session.paths.tftp / name).write_text(name)


def pid_of(session: Session) -> int:
    """Return the process id of the service."""
    return int((session.paths.run / "tftp/dnsmasq.pid").read_text())
