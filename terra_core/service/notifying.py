"""Telling the service manager how a daemon does, see sd_notify(3): systemd's ``Type=notify`` and watchdog."""

from __future__ import annotations

import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress

from terra_core.system.text import one_line

_BEATS = 3
"""The watchdog is fed so often in its time, so that one late beat does no harm."""
_STATUS_SECONDS = 10.0


class Notifier:
    """What a daemon says to its service manager; without one, nothing is said.

    :param environment: where NOTIFY_SOCKET and WATCHDOG_USEC are; they are taken out of it, since they are for this process.
    """

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        self._address = environment.pop("NOTIFY_SOCKET", "")
        microseconds, process = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        ours = process in ("", str(os.getpid()))
        self._watchdog = int(microseconds) / 1e6 if ours and microseconds.isdigit() else 0.0
        self._status = ""

    @property
    def pause(self) -> float:
        """Seconds between two calls of :meth:`beat`."""
        return min(self._watchdog / _BEATS, _STATUS_SECONDS) if self._watchdog else _STATUS_SECONDS

    def ready(self) -> None:
        """Say that requests are served."""
        self._tell("READY=1")

    def stopping(self) -> None:
        """Say that the daemon is about to end."""
        self._tell("STOPPING=1")

    def beat(self, status: str, *, lively: bool) -> None:
        """Say how the daemon does, and feed the watchdog.

        :param status: one line for ``systemctl status``.
        :param lively: whether all parts of it go on; the watchdog is left hungry where one does not.
        """
        if status != self._status:
            self._status = status
            self._tell(f"STATUS={one_line(status)}")
        if lively and self._watchdog:
            self._tell("WATCHDOG=1")

    def _tell(self, message: str) -> None:
        if not self._address.startswith(("/", "@")):
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
            connection.settimeout(1)
            connection.sendto(message.encode(), f"\0{self._address[1:]}" if self._address[0] == "@" else self._address)
