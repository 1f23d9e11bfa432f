"""Choosing the host that gets a new machine, where hosts have stores of their own: the one with the fewest (decision 0107)."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence

from terra_core.config.problems import DocumentError
from terra_core.config.structure import Problem
from terra_core.config.values import shown
from terra_core.controller.hosts import Host, HostRows, host_of
from terra_core.controller.store import Store
from terra_core.errors import ConflictError, UnavailableError

_COUNTED_SECONDS = 10.0
"""By then a machine that was given to a host is in the database, or nobody makes it."""
_SHUNNED_SECONDS = 30.0
"""A host that did not answer is silent by then, or answers again."""


class Placing:
    """Chooses hosts. May be used from several threads.

    :param rows: the hosts of the database.
    :param store: the machines.
    """

    def __init__(self, rows: HostRows, store: Store) -> None:
        self._rows, self._store = rows, store
        self._lock = threading.Lock()
        self._given: dict[str, tuple[str, float]] = {}  # by machine: the host, and when
        self._shunned: dict[str, float] = {}

    def choose(self, hostname: str, wanted: object) -> Host:
        """Return the host that gets a machine.

        :param hostname: the machine.
        :param wanted: what its file says as ``host``; ``None`` for nothing.
        :raises DocumentError: when there is none of that name.
        :raises ConflictError: when that one is drained.
        :raises UnavailableError: when that one, or any, is not there.
        """
        hosts = [host for host in self._rows.every() if host.own.local_store]
        if wanted is not None:
            return _named(hosts, hostname, wanted)
        records, now = self._store.everywhere(), time.monotonic()
        with self._lock:
            there = {record.hostname for record in records}
            self._given = {
                name: (host, at)
                for name, (host, at) in self._given.items()
                if name not in there and now - at < _COUNTED_SECONDS
            }
            counts = Counter(record.host for record in records)
            counts.update(host for host, _ in self._given.values())
            able = [host for host in hosts if host.may_lead]
            if not able:
                raise UnavailableError("no host is there that takes new machines", hint="terra hosts shows all of them")
            shunned = {name for name, at in self._shunned.items() if now - at < _SHUNNED_SECONDS}
            chosen = min(able, key=lambda host: (host.own.name in shunned, counts[host.own.name], host.own.name))
            self._given[hostname] = chosen.own.name, now
        return chosen

    def shun(self, name: str) -> None:
        """Choose a host that did not answer for nothing that another one can have, for a while."""
        with self._lock:
            self._shunned[name] = time.monotonic()
            self._given = {machine: given for machine, given in self._given.items() if given[0] != name}


def _named(hosts: Sequence[Host], hostname: str, wanted: object) -> Host:
    found = host_of(hosts, wanted)
    if found is None:
        names = ", ".join(host.own.name for host in hosts) or "none"
        raise DocumentError(
            "node.toml", [Problem("host", f"expected one of the hosts that there are, {names}; got {shown(wanted)}")]
        )
    if not found.runs:
        said = f"{found.own.name} is to have the disks of {hostname}, and does not answer: it is {found.state}"
        raise UnavailableError(said, hint="terra hosts shows all of them")
    if found.drained:
        hint = f"leave host out of node.toml, or let it in again: terra host resume {found.own.name}"
        raise ConflictError(f"{found.own.name} is drained, and takes no new machines", hint=hint)
    return found
