"""What is wrong with what all machines need: each service that is kept up, and work that is not finished yet."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping

_OF_FURTHER_MACHINES = frozenset({"store", "lead", "tree"})
"""What keeps machines from being made, and none that there is from booting."""


class Troubles:
    """Problems that the thread of the keeper notes, and requests read."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._services: dict[str, str] = {}
        self._waiting: frozenset[str] = frozenset()
        self._again = threading.Event()

    def look_again(self) -> None:
        """Note that work failed, so that what is left of it has to be looked for."""
        self._again.set()

    def is_to_look_again(self) -> bool:
        """Return whether :meth:`look_again` was called since this was asked last."""
        asked = self._again.is_set()
        self._again.clear()
        return asked

    def note(self, service: str, reason: str) -> bool:
        """Note what is wrong with a service, or with an empty reason that nothing is; return whether that is new."""
        with self._lock:
            former = self._services.pop(service, "")
            if reason:
                self._services[service] = reason
            return former != reason

    def clear(self) -> None:
        """Forget all of them: another host serves machines."""
        with self._lock:
            self._services, self._waiting = {}, frozenset()
        self._again.clear()

    def waits(self, hostnames: Iterable[str]) -> None:
        """Note the machines whose disks are not exported yet, since the storage service has been started."""
        with self._lock:
            self._waiting = frozenset(hostnames)

    @property
    def services(self) -> Mapping[str, str]:
        """The services that do not work, by their role, with the reason."""
        with self._lock:
            return dict(self._services)

    def of(self, hostname: str) -> str:
        """Return why a machine whose own record is right cannot boot now; an empty string when it can."""
        return self.now()(hostname)

    def now(self) -> Callable[[str], str]:
        """Return what :meth:`of` says of each machine now: whoever asks for all of them waits for no lock each time."""
        with self._lock:
            reasons = [reason for service, reason in self._services.items() if service not in _OF_FURTHER_MACHINES]
            said, waiting = "; ".join(reasons), self._waiting
        exported = "its disks are being exported again: the storage service was started"
        return lambda hostname: said or (exported if hostname in waiting else "")
