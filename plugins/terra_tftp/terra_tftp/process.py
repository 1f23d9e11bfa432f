"""One dnsmasq among others on this machine, found again after its controller has been restarted."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

from attrs import frozen

from terra_core.system.undo import Undo

_PATIENCE = 10.0


@frozen
class RunningDnsmasq:
    """The dnsmasq that runs with a configuration file of ours.

    :param configuration: that file; its path makes sure that a process id is not some other process's by now.
    :param pid_file: the file that it wrote its process id to.
    """

    configuration: Path
    pid_file: Path

    @property
    def pid(self) -> int | None:
        """Its process id; nothing when it does not run."""
        try:
            pid = int(self.pid_file.read_text())
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        ours = os.fsencode(f"--conf-file={self.configuration}")
        return pid if ours in words and words[0].rpartition(b"/")[2] == b"dnsmasq" else None

    def reload(self) -> None:
        """Let it read the reservations again; does nothing when it does not run."""
        self._signal(signal.SIGHUP, wait=0)

    def stop(self) -> bool:
        """End it; says whether it ran."""
        if not self._signal(signal.SIGTERM, wait=0):
            return False
        self._signal(signal.SIGCONT, wait=_PATIENCE)  # one that is stopped gets no signal before that
        self._signal(signal.SIGKILL, wait=_PATIENCE)
        self.pid_file.unlink(missing_ok=True)
        return True

    def _signal(self, number: int, *, wait: float) -> bool:
        """Send a signal and wait up to ``wait`` seconds for its end; says whether it was there to be signalled."""
        pid = self.pid
        with Undo() as opened:
            try:
                descriptor = os.pidfd_open(pid) if pid is not None else None
                if descriptor is None:
                    return False
                opened.callback(os.close, descriptor)
                if self.pid != pid:  # the descriptor holds on to whatever had the number when it was opened
                    return False
                signal.pidfd_send_signal(descriptor, number)
            except ProcessLookupError:
                return False
            end = select.poll()
            end.register(descriptor, select.POLLIN)
            end.poll(wait * 1000)
        return True
