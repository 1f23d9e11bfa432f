"""What QEMU says of a machine through its monitor (QMP)."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

_ANSWER_SECONDS = 10.0


class Monitor:
    """A connection to the monitor of one QEMU process; what was said stays readable when the process has ended.

    The protocol is that of QEMU's "QMP reference manual".

    :param path: the monitor's socket, which QEMU listens on.
    :raises OSError: when nobody listens there.
    """

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._events: list[dict[str, Any]] = []
        try:
            self._socket.settimeout(_ANSWER_SECONDS)
            self._socket.connect(str(path))
            self._lines = self._socket.makefile("rw")
            self._lines.readline()  # the greeting
            self.execute("qmp_capabilities")
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._lines.close()
        self._socket.close()

    def execute(self, command: str) -> None:
        """Run a command, and wait for its answer; events that come before the answer are kept.

        :raises OSError: when QEMU has ended or does not answer within 10 seconds.
        """
        self._lines.write(json.dumps({"execute": command}) + "\n")
        self._lines.flush()
        while "event" in (said := self._next()):
            self._events.append(said)

    def ended_by_reset(self) -> bool:
        """Return whether QEMU ended because the guest asked to start again; asked when QEMU has ended."""
        with suppress(OSError):  # the end of what it said
            while True:
                self._events.append(self._next())
        ends = [event["data"] for event in self._events if event.get("event") == "SHUTDOWN"]
        return any(end.get("reason") == "guest-reset" for end in ends)

    def _next(self) -> dict[str, Any]:
        line = self._lines.readline()
        if not line:
            raise ConnectionResetError("QEMU has closed its monitor")
        said: dict[str, Any] = json.loads(line)
        return said
