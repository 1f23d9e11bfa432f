"""What a trial has come to, by what was seen of the machine."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from terra_core.controller.records import BootLine, Phase, Upgrade
from terra_core.controller.trying import Outcome, Seen, outcome_of

TRIAL = Upgrade(phase=Phase.TRIAL, image="x/next:7", digest="sha256:2", since=1000.0)
BEGUN = evolve(TRIAL, back=BootLine(digest="sha256:1", kernel_arguments=("a",)))


@pytest.mark.parametrize(
    ("upgrade", "seen", "age", "outcome"),
    [
        (TRIAL, {}, 10**9, Outcome.OPEN),  # it may be off for weeks
        (TRIAL, {"on_former": True}, 1, Outcome.AGAIN),
        (TRIAL, {"on_next": True}, 1, Outcome.BEGUN),
        (TRIAL, {"booting": 60.0}, 70, Outcome.OPEN),
        (TRIAL, {"booting": 901.0}, 1000, Outcome.UNWELL),
        (TRIAL, {"report": {"state": "running"}}, 1, Outcome.OPEN),  # nobody has seen it on those disks
        (TRIAL, {"on_former": True, "report": {"state": "running"}}, 1, Outcome.AGAIN),
        (TRIAL, {"on_next": True, "report": {"state": "running"}}, 1, Outcome.BEGUN),  # and well at the next look
        (TRIAL, {"booting": 901.0, "report": {"state": "running"}}, 1000, Outcome.UNWELL),
        (TRIAL, {"report": {"state": "degraded", "failed": ["a.service"]}}, 1, Outcome.UNWELL),
        (BEGUN, {"report": {"state": "running"}}, 1, Outcome.WELL),  # it may be off again by then
        (BEGUN, {"on_next": True}, 899, Outcome.OPEN),
        (BEGUN, {"on_next": True}, 901, Outcome.UNWELL),
        (BEGUN, {}, 500, Outcome.OPEN),
        (BEGUN, {"on_former": True}, 1, Outcome.UNWELL),
        (BEGUN, {"on_next": True, "report": {"state": "running", "failed": []}}, 1, Outcome.WELL),
        (BEGUN, {"on_next": True, "report": {"state": "degraded", "failed": ["app.service"]}}, 1, Outcome.UNWELL),
        (BEGUN, {"on_next": True, "report": {"state": "degraded", "failed": ["user@1000.service"]}}, 1, Outcome.WELL),
        (BEGUN, {"report": {"state": "degraded", "failed": ["user@1.service", "a.service"]}}, 1, Outcome.UNWELL),
        (BEGUN, {"report": {"state": "degraded", "failed": ["user@1.service"] * 32}}, 1, Outcome.UNWELL),
        (BEGUN, {"report": {"state": "degraded", "failed": []}}, 1, Outcome.UNWELL),
        (BEGUN, {"report": {"state": "degraded", "failed": 7}}, 1, Outcome.UNWELL),
        (BEGUN, {"on_former": True, "report": {"state": "running"}}, 1, Outcome.WELL),
    ],
)
def test_what_was_seen_decides(upgrade: Upgrade, seen: dict[str, Any], age: float, outcome: Outcome) -> None:
    found, reason = outcome_of(upgrade, Seen(**seen), age, 900)
    assert found is outcome
    assert bool(reason) is (outcome is Outcome.UNWELL)


def test_the_reason_names_the_units() -> None:
    seen = Seen(report={"state": "degraded", "failed": ["a.service", "b.service"]})
    _, reason = outcome_of(BEGUN, seen, 1, 900)
    assert reason == "it reported that it is degraded: a.service, b.service failed"
