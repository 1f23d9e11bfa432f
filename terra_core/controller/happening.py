"""One thing that happened to a machine, and how far its boot came by that."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from attrs import Factory, evolve, frozen

from terra_core.system.text import joined

_LONGEST_TEXT = 400
_LONGEST_DATA = 16 * 1024


class Kind(Enum):
    """Where a happening was seen. Each kind is kept to a bound of its own, so that none pushes another out."""

    OPERATION = "operation"
    DHCP = "dhcp"
    FILE = "file"
    LOGIN = "login"
    REPORT = "report"
    PROBLEM = "problem"


class Stage(Enum):
    """How far the boot of a machine came; ``away`` is a booted one that has lost its disks, or was switched off."""

    OFF = "off"
    BOOTING = "booting"
    BOOTED = "booted"
    AWAY = "away"


def utc(at: datetime | None = None) -> str:
    """Return a time, or the present one, in UTC as RFC 3339 has it, with milliseconds: as text these are in order."""
    text = (at or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="milliseconds")
    return f"{text.removesuffix('+00:00')}Z"


@frozen(kw_only=True)
class Happening:
    """One thing that happened to a machine.

    :param hostname: the machine's name.
    :param generation: how often this name had been provisioned: a later machine of the same name is another one.
    :param kind: where it was seen.
    :param text: what happened, in one line.
    :param data: the same for programs: a small table of what JSON knows.
    :param time: when, in UTC as RFC 3339 has it.
    :param stage: how far the boot came by it; ``None`` where it says nothing of that.
    :param number: its place in the order of all; 0 before it is written.
    """

    hostname: str
    generation: int
    kind: Kind
    text: str
    data: Mapping[str, Any] = Factory(dict)
    time: str = Factory(utc)
    stage: Stage | None = None
    number: int = 0

    @property
    def machine(self) -> tuple[str, int]:
        """The machine: its name, and which of that name."""
        return (self.hostname, self.generation)

    def bounded(self) -> Happening:
        """Return it with a text of one line, and without data that are too large or not for JSON."""
        data: Mapping[str, Any] = dict(self.data)
        try:
            size = len(json.dumps(data, allow_nan=False))
        except (TypeError, ValueError, RecursionError):
            size, data = 0, {"left_out": "is not for JSON"}
        if size > _LONGEST_DATA:
            data = {"left_out": f"{size} bytes"}
        return evolve(self, text=joined(self.text)[:_LONGEST_TEXT], data=data)


@frozen(kw_only=True)
class BootProgress:
    """How far the boot of a machine came.

    :param stage: how far.
    :param since: when it came there, in UTC as RFC 3339 has it; empty when nothing was ever seen of it.
    :param report: what the machine said of itself when it had booted last; empty when it never did.
    """

    stage: Stage = Stage.OFF
    since: str = ""
    report: Mapping[str, Any] = Factory(dict)

    def after(self, happening: Happening) -> BootProgress:
        """Return the progress after a happening; one that is older than the present stage changes nothing."""
        stage = happening.stage
        if stage is None or happening.time < self.since <= utc():  # a stage of the future is from a clock that was wrong
            return self
        if happening.kind is Kind.LOGIN:
            stage = _BY_LOGIN[stage, self.stage]
        report = happening.data if happening.kind is Kind.REPORT and stage is Stage.BOOTED else self.report
        if stage is self.stage:
            return evolve(self, report=report)
        return BootProgress(stage=stage, since=happening.time, report=report)


_BY_LOGIN = {
    (Stage.BOOTING, Stage.OFF): Stage.BOOTING,
    (Stage.BOOTING, Stage.BOOTING): Stage.BOOTING,
    # It runs, and was without its disks for a while, such as when the storage service was started again: who boots loads files.
    (Stage.BOOTING, Stage.AWAY): Stage.BOOTED,
    (Stage.BOOTING, Stage.BOOTED): Stage.BOOTED,
    (Stage.OFF, Stage.OFF): Stage.OFF,
    (Stage.OFF, Stage.BOOTING): Stage.OFF,
    (Stage.OFF, Stage.AWAY): Stage.AWAY,
    (Stage.OFF, Stage.BOOTED): Stage.AWAY,
}
"""The stage of a machine that gets its disks (``booting``) or loses them (``off``), by the stage that it had."""
