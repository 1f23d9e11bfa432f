"""A process that is named for good: its id, and when it started."""

from __future__ import annotations

from pathlib import Path


def started(pid: int) -> str:
    """When a process started, in clock ticks since boot (proc_pid_stat(5)); empty when there is none, or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def alive(pid: int, since: str) -> bool:
    """Whether this very process still runs."""
    return pid > 0 and since != "" and started(pid) == since


def network_of(pid: int) -> str:
    """The file of the network namespace of a process."""
    return f"/proc/{pid}/ns/net"
