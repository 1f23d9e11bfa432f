"""Say to keepalived, by the exit code, whether this host leads and its controller lives: the program of its track script.

It is run every second, by ``python -I -S``, so it imports nothing of Terra's. The file is written by
:class:`terra_core.controller.portal.PortalFiles`: the controller's process id, when that process started (proc_pid_stat(5)),
and until when it leads for sure, by the monotonic clock.
"""

from __future__ import annotations

import sys
import time


def leads(file: str) -> bool:
    """Return whether the controller that wrote a file is there, and its time is not over; ``False`` for a file that is none."""
    try:
        with open(file, "rb") as text:  # noqa: PTH123  # pathlib takes three times as long to import as the rest to run
            pid, started, until = text.read(256).split()
        with open(b"/proc/%d/stat" % int(pid), "rb") as text:  # noqa: PTH123  # as above
            state = text.read().rpartition(b")")[2].split()
        return state[0] not in (b"Z", b"X") and state[19] == started and time.monotonic() < float(until)
    except (OSError, ValueError, IndexError):
        return False


if __name__ == "__main__":
    sys.exit(0 if len(sys.argv) == 2 and leads(sys.argv[1]) else 1)
