"""What a machine's trial of another version has come to: a pure function of what was seen."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Any

from attrs import Factory, frozen

from terra_core.controller.boot_report import MOST
from terra_core.controller.records import Upgrade
from terra_core.system.unit_names import is_of_users_alone


class Outcome(Enum):
    """What a trial has come to."""

    OPEN = auto()
    """Nothing that decides it was seen."""
    BEGUN = auto()
    """The machine has the next version: its following boot is to be the former one."""
    AGAIN = auto()
    """The machine was on its way to the former version when it was given the next one."""
    WELL = auto()
    UNWELL = auto()


@frozen(kw_only=True)
class Seen:
    """What was seen of a machine on trial.

    :param on_next: whether it is connected to the disks of the next version.
    :param on_former: whether it is connected to those of the former one.
    :param booting: for how many seconds it has been booting since the trial began; ``None`` when it was not seen to.
    :param report: what it has reported of a boot of the next version; empty when it has not.
    """

    on_next: bool = False
    on_former: bool = False
    booting: float | None = None
    report: Mapping[str, Any] = Factory(dict)


def outcome_of(upgrade: Upgrade, seen: Seen, age: float, timeout: float) -> tuple[Outcome, str]:
    """Return what a trial has come to, and the reason where the machine has to go back.

    That it is well counts from the moment on that the machine was seen on the disks of the next version. Before that, whoever
    has fetched its boot files could say so of a machine that is off, and take its way back away.

    :param age: since when the machine is on trial, or was seen to have begun it, in seconds.
    :param timeout: how long it may take to report, in seconds.
    """
    state, failed = seen.report.get("state"), _failed(seen.report)
    # A list that is as long as it may be is not all that has failed.
    well = state == "running" or (state == "degraded" and len(failed) < MOST and is_of_users_alone(failed))
    if well and upgrade.back is not None:
        return Outcome.WELL, ""
    if seen.report and not well:
        names = ", ".join(failed)
        return Outcome.UNWELL, f"it reported that it is {seen.report.get('state')}{f': {names} failed' if names else ''}"
    if upgrade.back is None:
        if seen.on_former:
            return Outcome.AGAIN, ""
        if seen.on_next:
            return Outcome.BEGUN, ""
        if seen.booting is not None and seen.booting > timeout:
            return Outcome.UNWELL, f"it got its boot files and was not connected to its disks in {timeout:.0f} seconds"
    elif seen.on_former:
        return Outcome.UNWELL, "it was started again before it had reported that it is well"
    elif age > timeout:
        return Outcome.UNWELL, f"it has not reported that it is well in {timeout:.0f} seconds"
    return Outcome.OPEN, ""


def _failed(report: Mapping[str, Any]) -> list[str]:
    failed = report.get("failed")
    return [str(name) for name in failed] if isinstance(failed, list | tuple) else []
