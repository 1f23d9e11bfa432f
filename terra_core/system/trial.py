"""How a system came up that was started on trial."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class Trial:
    """The result of starting a system on trial.

    :param state: the last answer of ``systemctl is-system-running``; empty when there was none.
    :param failed: the units that failed, one line each.
    :param errors: the journal's errors, or other output where there is no journal.
    """

    state: str
    failed: tuple[str, ...] = ()
    errors: str = ""

    @property
    def healthy(self) -> bool:
        """Whether it came up with every unit."""
        return self.state == "running"
