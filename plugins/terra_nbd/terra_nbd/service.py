"""All servers of a controller."""

from __future__ import annotations

import shutil

from terra_core.config.session import Session
from terra_core.config.values import Address
from terra_core.errors import TerraError
from terra_core.system.packages import install_hint
from terra_core.system.process import clean_environment
from terra_nbd.planning import require_address
from terra_nbd.servers import PROGRAM, changing


def start(portal: Address, session: Session) -> bool:
    """Be ready to serve, and look whether all servers run that were started: each target has its own, which starts with it.

    :returns: whether a server was missing, such as after a reboot: core restores all targets then.
    :raises TerraError: when servers cannot be started at all.
    """
    if shutil.which(PROGRAM, path=clean_environment()["PATH"]) is None:
        raise TerraError(f"{PROGRAM}: not found on this machine, and it serves the disks", hint=install_hint(PROGRAM))
    require_address(portal)
    with changing(session) as servers:
        gone = servers.gone
        servers.end(*gone)
        return servers.begin() or bool(gone)


def stop(session: Session) -> bool:
    """End every server of this controller; return whether it was ready to serve, or one ran."""
    with changing(session) as servers:
        running = servers.end(*servers.names)
        return servers.finish() or running
