"""The log as entries of systemd's journal with fields of their own, see systemd.journal-fields(7)."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Protocol

SOCKET = Path("/run/systemd/journal/socket")
_PRIORITIES = {"critical": 2, "error": 3, "exception": 3, "warning": 4, "info": 6, "debug": 7}
_LONGEST = 32 * 1024
_MOST_FIELDS = 64
_OWN = ("event", "level", "timestamp", "exception")


class FileDescriptor(Protocol):
    """What has a file descriptor."""

    def fileno(self) -> int:
        """Return it."""


def goes_to_journal(stream: FileDescriptor, environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether a stream is the connection to the journal that the service manager made (JOURNAL_STREAM)."""
    device, _, inode = environment.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # it is closed, or no file of the system's
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))


def entry(event: Mapping[str, Any], identifier: str) -> bytes:
    """Return an event of structlog as the journal's native protocol has it.

    Each key becomes a field ``TERRA_KEY``: ``journalctl TERRA_HOSTNAME=cm-01`` shows what is of one machine.

    :param identifier: the name of the program.
    """
    own = {key: str(value) for key, value in event.items() if key not in _OWN}
    said = " ".join([str(event.get("event", "")), *(f"{key}={value}" for key, value in own.items())])
    message = "\n".join([said, *([str(event["exception"])] if "exception" in event else [])])
    priority = _PRIORITIES.get(str(event.get("level")), 6)
    fields = {"MESSAGE": message, "PRIORITY": str(priority), "SYSLOG_IDENTIFIER": identifier}
    for key, value in list(own.items())[:_MOST_FIELDS]:
        fields[_name(key)] = value
    return b"".join(_field(name, value) for name, value in fields.items())


def _name(key: str) -> str:
    plain = "".join(letter if letter.isascii() and letter.isalnum() else "_" for letter in key.upper())
    return f"TERRA_{plain}"[:64]


def _field(name: str, value: str) -> bytes:
    data = value.encode(errors="replace")[:_LONGEST]
    if b"\n" in data:
        return name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"
    return f"{name}=".encode() + data + b"\n"


class JournalRenderer:
    """The last of structlog's processors: an entry for :class:`JournalLogger`.

    :param identifier: the name of the program.
    """

    def __init__(self, identifier: str) -> None:
        self._identifier = identifier

    def __call__(self, _: object, __: str, event: MutableMapping[str, Any]) -> bytes:
        """Return the entry."""
        return entry(event, self._identifier)


class JournalLogger:
    """Sends entries to the journal; one that does not get there is lost, as the journal's own are.

    :param path: the journal's socket.
    """

    def __init__(self, path: Path = SOCKET) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(1)  # the journal may be about to start again

    @classmethod
    @cache
    def shared(cls) -> JournalLogger:
        """Return the logger of this process."""
        return cls()

    def msg(self, message: bytes) -> None:
        """Send an entry."""
        with suppress(OSError):
            self._socket.sendto(message, str(self._path))

    debug = info = warning = error = critical = exception = fatal = log = msg
