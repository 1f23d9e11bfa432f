"""The capabilities of capabilities(7), and which of them this machine has to give."""

from __future__ import annotations

from pathlib import Path

from terra_core.system.reading import lines_of

_NAMES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP", "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO",
    "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME",
    "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
    "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
)  # fmt: skip
_LATE = 38
"""The first capability that older engines do not know by name; CAP_SYS_ADMIN allows all that the later ones do."""

CAPABILITIES = tuple(f"CAP_{name}" for name in _NAMES)
"""All names, in the order of their numbers."""


def bounding_set(status: str) -> int:
    """Return the set as /proc/PID/status shows it."""
    return next(int(line.split()[1], 16) for line in lines_of(status) if line.startswith("CapBnd:"))


def grantable() -> tuple[str, ...]:
    """Return the capabilities that an engine beside this process can give to a container."""
    given = bounding_set(Path("/proc/self/status").read_text())
    return tuple(name for at, name in enumerate(CAPABILITIES[:_LATE]) if given >> at & 1)


def is_whole() -> bool:
    """Return whether this machine has every capability to give, as an engine's own privileged mode wants it."""
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    whole = (1 << last + 1) - 1
    return bounding_set(Path("/proc/self/status").read_text()) & whole == whole
