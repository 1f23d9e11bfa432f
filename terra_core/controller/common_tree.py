"""Whether hosts with stores of their own have their boot files in common, as machines boot from one of them (decision 0107)."""

from __future__ import annotations

from pathlib import Path

from terra_core.controller.hosts import HostRows
from terra_core.controller.services import Services
from terra_core.errors import ConflictError, TerraError, words_of
from terra_core.system.files import write_file

_HOSTS = ".hosts"
"""The directory in the boot tree with a file of each host; nobody is sent one."""
_SECONDS = 120.0
"""By then a host that has started has written its file."""


class CommonTree:
    """Compares the hosts that run with those that have a file in the boot tree. May be used from several threads.

    :param services: what the controller works with.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._problem = ""

    def look(self) -> None:
        """Say in the boot tree that this host is there, and look whether all others have done so; called every minute.

        :raises TerraError: when one has not, so that it writes the boot files of its machines somewhere else.
        """
        own = self._services.store.host
        if not own:
            return
        self._problem = self._found(own)
        if self._problem:
            raise TerraError(self._problem, hint="mount the boot files that all hosts have in common")

    def _found(self, own: str) -> str:
        """Write this host's file, and say what is wrong; nothing where all is well."""
        try:
            self._write(own)
        except (OSError, TerraError) as error:
            return f"{self._place}: cannot be written: {words_of(error)}"
        for host in HostRows(self._services.store.engine).every():
            runs_for = host.seen + host.silence - host.started
            if host.runs and host.own.local_store and runs_for > _SECONDS and not (self._place / host.own.name).exists():
                return f"{self._place.parent} is not in common with {host.own.name}, which writes boot files somewhere else"
        return ""

    def require(self) -> None:
        """Check that a machine which is made here would boot.

        :raises ConflictError: when it would not, as of the last look.
        """
        if self._problem:
            raise ConflictError(self._problem, hint="mount the boot files that all hosts have in common; see terra info")

    @property
    def _place(self) -> Path:
        return self._services.session.paths.tftp / _HOSTS

    def _write(self, own: str) -> None:
        file = self._place / own
        if not file.exists():
            self._place.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_file(file, b"", mode=0o600)
