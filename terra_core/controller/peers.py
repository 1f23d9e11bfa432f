"""The other hosts of a database, as far as one is known by what it shows with a request that it passes on (decision 0099)."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping

from attrs import field, frozen

from terra_core.controller.hosts import HostRows, Own
from terra_core.errors import TerraError, UnavailableError
from terra_core.service.access import digest_of, is_same
from terra_core.service.tokens import new_token

_FRESH_SECONDS = 3.0
"""So long what was read of the hosts counts: a host that has stopped is one of them no longer."""
_PAUSE_SECONDS = 1.0
"""The least time between two looks into the database: whoever reaches the port can have one looked for."""
_MARK = re.compile(r"([a-z0-9.-]{1,253}) ([A-Za-z0-9_-]{16,128}) ([A-Za-z0-9.:%_-]{1,64})")


@frozen(kw_only=True)
class Passes:
    """What a process shows when it passes requests on; the database has the digests. Another process has others.

    :param mark: shows that the host is one of the database, so that it is believed from where a request came.
    :param local: stands for the token of the host itself, which never leaves it.
    """

    mark: str = field(factory=new_token, repr=False)
    local: str = field(factory=new_token, repr=False)


@frozen(kw_only=True)
class Mark:
    """What the header of a request says that a host has passed on.

    :param name: the host.
    :param secret: by which it is known.
    :param address: from where the request came to it.
    """

    name: str
    secret: str = field(repr=False)
    address: str

    def __str__(self) -> str:
        return f"{self.name} {self.secret} {re.sub('[^A-Za-z0-9.:%_-]', '_', self.address)[:64] or '-'}"


def parse_mark(header: bytes) -> Mark | None:
    """Return what a header says; ``None`` for one that no host has written."""
    found = _MARK.fullmatch(header.decode("latin-1"))
    return None if found is None else Mark(name=found[1], secret=found[2], address=found[3])


class Peers:
    """Knows hosts by their marks. May be used from several threads.

    :param rows: the hosts.
    """

    def __init__(self, rows: HostRows) -> None:
        self._rows = rows
        self._lock = threading.Lock()
        self._known: Mapping[str, Own] = {}
        self._read = -_FRESH_SECONDS
        self._tried, self._failed = -_PAUSE_SECONDS, ""

    def find(self, mark: Mark) -> Own | None:
        """Return the host that has written a mark; ``None`` where none has that is there. May wait for the database.

        :raises UnavailableError: when the database does not answer; who asks a moment later is told the same without asking it.
        """
        digest = digest_of(mark.secret.encode())
        with self._lock:
            age = time.monotonic() - self._read
            if age >= _FRESH_SECONDS or (age >= _PAUSE_SECONDS and not self._is_known(mark.name, digest)):
                self._look()
            return self._known[mark.name] if self._is_known(mark.name, digest) else None

    def _look(self) -> None:
        if self._failed and time.monotonic() - self._tried < _PAUSE_SECONDS:
            raise UnavailableError(self._failed, hint="try again in some seconds")
        try:
            self._known = {host.own.name: host.own for host in self._rows.every() if host.runs}
        except TerraError as error:
            self._tried, self._failed = time.monotonic(), error.message
            raise
        self._read, self._failed = time.monotonic(), ""

    def _is_known(self, name: str, digest: str) -> bool:
        return name in self._known and is_same(digest, self._known[name].pass_digest)
