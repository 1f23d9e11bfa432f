"""The DHCP daemon of the CNI plugins: it asks for leases and keeps them while their containers run.

It runs as long as a container needs it, outlives the agent, and is found again by its socket.
"""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import structlog

from terra_core.errors import TerraError
from terra_core.system.process import Daemon
from terra_core.system.processes import Process, find_daemon
from terra_core.system.waiting import wait_until
from terra_orbit.agent.cni import program

_log = structlog.get_logger(__name__)
_SOCKET_LIMIT = 107
_START_SECONDS = 10.0
_STOP_SECONDS = 10.0
_PATIENCE = ("-timeout", "5s", "-resendmax", "8s")
"""How long it waits for an answer, and its longest pause between requests: it gives up after half a minute in all."""


class Dhcp:
    """The daemon of one agent.

    :param path: its socket.
    :param log: what it says.
    """

    def __init__(self, path: Path, log: Path) -> None:
        self._path = path
        self._log = log
        self._lock = threading.Lock()

    def start(self) -> bool:
        """Start it if it does not run; return whether it had to be started.

        :raises TerraError: when it does not start.
        """
        with self._lock:
            if self._answers():
                return False
            if len(str(self._path)) > _SOCKET_LIMIT:
                raise TerraError(f"{self._path}: is too long for a socket", hint="choose a --root with a shorter path")
            self._end()
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            self._path.unlink(missing_ok=True)
            words = [str(program("dhcp")), "daemon", "-socketpath", str(self._path), *_PATIENCE]
            daemon = Daemon(words, log=self._log, outlives=True)
            self._pid_file.write_text(f"{daemon.pid}\n")

            def listens() -> bool:
                return not daemon.alive or self._answers()

            wait_until(listens, seconds=_START_SECONDS, what="the DHCP daemon to listen", interval=0.01)
            if not daemon.alive:
                raise TerraError(f"the DHCP daemon ended at once: {daemon.tail(3)}")
            return True

    @property
    def identity(self) -> str:
        """Return a name of the process that runs; another one knows nothing of its leases. Empty when none runs."""
        process = self._process()
        return f"{process.pid}-{process.started}" if process is not None else ""

    def stop(self) -> bool:
        """Stop it; return whether it ran. No container may need it any more."""
        with self._lock:
            ended = self._end()
            self._path.unlink(missing_ok=True)
            self._pid_file.unlink(missing_ok=True)
            return ended

    @property
    def _pid_file(self) -> Path:
        return self._path.with_suffix(".pid")

    def _process(self) -> Process | None:
        return find_daemon("dhcp", str(self._path), pid_file=self._pid_file)

    def _end(self) -> bool:
        process = self._process()
        if process is not None:
            process.stop(_STOP_SECONDS)
        return process is not None

    def _answers(self) -> bool:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
                trial.settimeout(2)
                trial.connect(str(self._path))
        except OSError:
            return False
        return True
