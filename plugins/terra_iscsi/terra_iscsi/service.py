"""tgtd itself: the system's, or one of the controller's own that outlives it."""

from __future__ import annotations

import errno
import ipaddress
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from terra_core.config.controller import Paths
from terra_core.config.session import Session
from terra_core.config.values import Address
from terra_core.errors import CommandTimeout, ConflictError, TerraError
from terra_core.system.process import Daemon, uninterrupted
from terra_core.system.processes import Process, find_daemons
from terra_core.system.progress import Event
from terra_core.system.undo import undoing
from terra_core.system.waiting import wait_until
from terra_iscsi.control import REFUSED, Control, Hangs
from terra_iscsi.settings import NAME, PORT, Settings

_STEP = "storage"
_START_SECONDS = 60.0
_STOP_SECONDS = 15.0
_NOTICING = "nop_interval=10,nop_count=5"
"""The portal's options by which a machine that went away without a word is logged out after a minute, and not after an hour."""
_SOCKET_LIMIT = 107
"""The longest path of a socket (unix(7)); tgtd cuts a longer one short without a word."""


def find(session: Session) -> Control | None:
    """Return the tgtd that serves this controller: its own, or for the controller of ``/`` the system's; ``None`` without."""
    own = own_control(session)
    if own.answers():
        return own
    system = _system_control(session)
    return system if system is not None and system.answers() else None


def own_control(session: Session) -> Control:
    """Return the control socket of this controller's own tgtd.

    :raises TerraError: when its path gets too long.
    """
    control = Control(session.settings(NAME, Settings).control_port, session.paths.run.absolute() / "tgtd/socket")
    if len(os.fsencode(control.file)) > _SOCKET_LIMIT:
        raise TerraError(
            f"{control.file}: is too long for a socket, which can have {_SOCKET_LIMIT} characters",
            hint="choose a --root with a shorter path",
        )
    return control


def start(portal: Address, session: Session) -> bool:
    """Start tgtd if none answers; return whether it was started.

    :raises ConflictError: when the portal's address is taken.
    :raises TerraError: when it does not start.
    """
    own = own_control(session)
    portals = own.portals_if_it_answers()  # asked every few seconds
    if portals is not None:
        if (portal, PORT) not in portals:
            _require_free(portal)
            own.ask("--mode", "portal", "--op", "new", "--param", f"portal={_written(portal)}")
        return False
    system = _system_control(session)
    if system is not None and system.answers():
        _require_portal(system, portal)
        return False
    process = next(_processes(own, session.paths), None)
    if process is not None:
        raise TerraError(
            f"tgtd (process {process.pid}) runs and does not answer on {own.file}",
            hint=f"it serves machines still; when they are off, end it: kill -9 {process.pid}",
        )
    _require_free(portal)
    session.report(Event(_STEP, f"starting tgtd on {_written(portal)}"))
    _start(own, portal, session.settings(NAME, Settings).threads, session.paths)
    return True


def stop(session: Session) -> bool:
    """Stop this controller's own tgtd, and with it every target; return whether there was one."""
    own = own_control(session)
    processes = list(_processes(own, session.paths))
    asked = False
    with suppress(CommandTimeout, Hangs):
        if processes and own.answers():
            own.take_down(*own.targets())
            own.ask("--mode", "system", "--op", "delete", accept=(0, REFUSED))
            asked = True
    for process in processes:
        if not asked or not process.wait(_STOP_SECONDS):
            process.kill(_STOP_SECONDS)  # tgtd ignores SIGTERM as long as it has a target
    for path in (_pid_file(session.paths), own.file, Path(f"{own.file}.lock")):
        path.unlink(missing_ok=True)
    return bool(processes)


def _start(own: Control, portal: Address, threads: int, paths: Paths) -> None:
    own.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # tgtd's own 16 for each disk are as many as the kernel lets a process have at 2,009 disks (vm.max_map_count).
    args = ["tgtd", "-f", "-C", str(own.port), "--nr_iothreads", str(threads)]
    args += ["--iscsi", f"portal={_written(portal)},{_NOTICING}"]
    daemon = Daemon(args, log=paths.run / "tgtd.log", env=own.environment, outlives=True)
    try:
        _pid_file(paths).write_text(f"{daemon.pid}\n")
        wait_until(lambda: not daemon.alive or own.answers(), seconds=_START_SECONDS, what="tgtd to answer")
        # A tgtd that cannot open its portal opens every address of the machine instead.
        if not daemon.alive or own.portals() != {(portal, PORT)}:
            raise TerraError(f"tgtd did not open {_written(portal)}; its log ends with:\n{daemon.tail()}")
    except BaseException as error:
        with undoing(error), uninterrupted():
            daemon.signal(signal.SIGKILL)
            daemon.wait(_STOP_SECONDS)
            _pid_file(paths).unlink(missing_ok=True)
        raise


def _system_control(session: Session) -> Control | None:
    if session.paths.root.absolute() != Path("/"):
        return None
    return Control(session.settings(NAME, Settings).control_port)


def _require_portal(system: Control, portal: Address) -> None:
    everything = "0.0.0.0" if ipaddress.ip_address(portal).version == 4 else "::"  # noqa: S104  # compared, not bound
    if not {(portal, PORT), (everything, PORT)} & system.portals():
        raise TerraError(
            f"the tgtd of this system does not answer on {_written(portal)}",
            hint=f"tgtadm --lld iscsi --mode portal --op new --param portal={_written(portal)}",
        )


def _require_free(portal: Address) -> None:
    family = socket.AF_INET if ipaddress.ip_address(portal).version == 4 else socket.AF_INET6
    with socket.socket(family) as trial:
        # As tgtd does it, so that closing connections of an earlier tgtd do not matter.
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((portal, PORT))
            trial.listen()
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ConflictError(f"{_written(portal)}: another iSCSI service answers there already") from None
            if error.errno == errno.EADDRNOTAVAIL:
                hint = "see --iscsi and storage_address"
                raise TerraError(f"{portal}: is not an address of this machine", hint=hint) from None
            raise TerraError(f"{_written(portal)}: cannot be opened: {error.strerror}") from error


def _processes(own: Control, paths: Paths) -> Iterator[Process]:
    return find_daemons("tgtd", f"TGT_IPC_SOCKET={own.socket}", pid_file=_pid_file(paths))


def _pid_file(paths: Paths) -> Path:
    return paths.run / "tgtd.pid"


def _written(portal: Address) -> str:
    return f"[{portal}]:{PORT}" if ":" in portal else f"{portal}:{PORT}"
