"""The HTTP server of the boot tree: a lighttpd(8) that never has root's rights, and outlives the controller."""

from __future__ import annotations

import os
import time
from http.client import HTTPConnection, HTTPException
from math import inf
from pathlib import Path

from terra_core.config.values import Address
from terra_core.errors import TerraError
from terra_core.system import files
from terra_core.system.daemons import open_files, start_daemon
from terra_core.system.process import Daemon, run
from terra_core.system.processes import Process, find_daemon
from terra_core.system.progress import Event, Report
from terra_core.system.waiting import WaitedInVain, wait_until
from terra_ipxe.configuration import FILES, configuration
from terra_ipxe.scripts import START
from terra_ipxe.settings import Settings
from terra_tftp.access import User, check_reachable, find_user
from terra_tftp.files import make_directory, read_file, write_file
from terra_tftp.log import Log

_PATIENCE = 10
_SILENCE = 10
"""Seconds without an answer after which a server that runs is taken to hang."""
_PAUSE = 5
"""Seconds between two questions."""
_LOG_LIMIT = 8 * 1024 * 1024
"""The largest log of requests, in bytes: it is in memory."""


class HttpServer:
    """The server of one controller.

    :param tree: the boot tree.
    :param directory: where the server's own files are kept.
    """

    def __init__(self, tree: Path, directory: Path) -> None:
        self._tree = tree
        self._directory = directory
        self._configuration = directory / "lighttpd.conf"
        self._log = directory / "lighttpd.log"
        self.requests = Log(directory / "requests.log", directory / "requests.log.1", _LOG_LIMIT)
        self._answered = -inf

    def start(self, address: Address, settings: Settings, report: Report) -> bool:
        """Start lighttpd unless it runs as configured.

        :returns: whether it was started: for the first time, because it had ended or hung, or with another configuration.
        :raises TerraError: when it can't run, with what stands in its way.
        """
        user = find_user(
            settings.http_user, "lighttpd", 'set http_user in [ipxe] to a user of this machine, such as "nobody"'
        )
        tree = self._tree.resolve()  # lighttpd follows no link on the way there
        text = configuration(tree, address, settings.port, self.requests.path)
        make_directory(self._directory)
        check_reachable([tree, self._directory], user, "lighttpd")
        if self._process() is not None and read_file(self._configuration) == text:
            self.requests.bound()
            if self._answers(address, settings.port):
                return False
            hangs = f"lighttpd did not answer on {address}:{settings.port} for {_SILENCE} s, and is started again"
            report(Event("boot", f"warning: {hangs}"))
        # The configuration file always says what the running process was started with.
        self.stop()
        write_file(self._configuration, text)
        self._start(address, settings.port, user)
        return True

    def stop(self) -> bool:
        """End it if it is this controller's; return whether it ran."""
        process = self._process()
        if process is not None:
            process.stop()
        return process is not None

    def _process(self) -> Process | None:
        return find_daemon("lighttpd", str(self._configuration))

    def _answers(self, address: Address, port: int) -> bool:
        """Return whether it sends files, or has done so just now; a busy one gets time to answer."""
        if time.monotonic() < self._answered + _PAUSE:
            return True
        try:
            wait_until(lambda: serves(address, port, seconds=1), seconds=_SILENCE, what="lighttpd to answer")
        except WaitedInVain:
            return False
        self._answered = time.monotonic()
        return True

    def _start(self, address: Address, port: int, user: User) -> None:
        run(["lighttpd", "-v"])  # prlimit would write into its log that lighttpd is missing
        self._log.unlink(missing_ok=True)
        self.requests.renew()
        files.write_file(self.requests.path, b"", mode=0o600)
        os.chown(self.requests.path, user.uid, user.gid)
        plain = ["setpriv", f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups", "--no-new-privs"]
        plain += ["--inh-caps=-all", "--bounding-set=-all", "--"]
        args = [*open_files(FILES), *plain, "lighttpd", "-D", "-f", str(self._configuration)]
        start_daemon(args, log=self._log, wait=lambda daemon: self._wait(daemon, address, port), name="lighttpd")
        self._answered = time.monotonic()

    def _wait(self, daemon: Daemon, address: Address, port: int) -> None:
        def ready() -> bool:
            process = self._process()
            ours = process is not None and process.pid == daemon.pid
            return not daemon.alive or (ours and serves(address, port, seconds=0.5))

        wait_until(ready, seconds=_PATIENCE, what=f"lighttpd to serve {self._tree} on {address}:{port}", interval=0.02)
        if not daemon.alive:
            raise failure(daemon.tail(), address, port)


def serves(address: Address, port: int, *, seconds: float) -> bool:
    """Return whether the server sends the first script within ``seconds``."""
    connection = HTTPConnection(address, port, timeout=seconds)
    try:
        connection.request("HEAD", f"/{START}", headers={"Connection": "close"})
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def failure(log: str, address: Address, port: int) -> TerraError:
    """Return the error for a lighttpd that did not start.

    :param log: what it said.
    """
    said = log.strip() or "it said nothing"
    if "in use" in log:
        return TerraError(
            f"the HTTP server of network boot cannot answer on {address}: its TCP port {port} is taken\n{said}",
            hint=f"see who has it with `ss -tlpn sport = :{port}`, and stop that; or set another port in [ipxe]",
        )
    return TerraError(f"the HTTP server of network boot did not start on {address}:{port}: {said}")
