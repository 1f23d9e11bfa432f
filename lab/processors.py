"""A share of the processors for some processes and all that they start, as if these had a machine of their own (cgroups(7))."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from terra_core.errors import TerraError
from terra_core.system.waiting import wait_until

_ROOT = Path("/sys/fs/cgroup")
_PERIOD = 20_000
"""Microseconds: short, so that what has used up its share waits a few milliseconds and no more."""


class Share:
    """A control group that gets no more than a share of one processor.

    :param name: of the group; nobody else has it.
    :param processors: the share: 0.5 is half of one processor.
    """

    def __init__(self, name: str, processors: float) -> None:
        first = _ROOT / "cpu"
        self._place = (first if first.is_dir() else _ROOT) / name
        self._quota = round(processors * _PERIOD)

    def __enter__(self) -> Self:
        try:
            self._place.mkdir()
            if (self._place / "cpu.cfs_quota_us").exists():  # version 1 of cgroups
                (self._place / "cpu.cfs_period_us").write_text(str(_PERIOD))
                (self._place / "cpu.cfs_quota_us").write_text(str(self._quota))
            else:
                (self._place / "cpu.max").write_text(f"{self._quota} {_PERIOD}")
        except OSError as error:
            raise TerraError(f"{self._place}: processors cannot be shared out: {error.strerror}") from error
        return self

    def __exit__(self, *failure: object) -> None:
        procs = self._place / "cgroup.procs"
        wait_until(lambda: not procs.read_text(), seconds=20, what=f"all in {self._place} to end")
        self._place.rmdir()

    def take(self, pid: int) -> None:
        """Let a process, and what it starts from now on, have no more than this."""
        (self._place / "cgroup.procs").write_text(str(pid))
