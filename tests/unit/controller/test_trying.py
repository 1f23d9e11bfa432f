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
    ("upgrade", "seen", "now", "outcome"),
    [
        (TRIAL, {}, 10**9, Outcome.OPEN),  # it may be off for weeks
        (TRIAL, {"on_former": True}, 1001, Outcome.AGAIN),
        (TRIAL, {"on_next": True}, 1001, Outcome.BEGUN),
        (TRIAL, {"booting": 60.0}, 1070, Outcome.OPEN),
        (TRIAL, {"booting": 901.0}, 2000, Outcome.UNWELL),
        (TRIAL, {"report": {"state": "running"}}, 1001, Outcome.WELL),
        (BEGUN, {"on_next": True}, 1899, Outcome.OPEN),
        (BEGUN, {"on_next": True}, 1901, Outcome.UNWELL),
        (BEGUN, {}, 1500, Outcome.OPEN),
        (BEGUN, {"on_former": True}, 1001, Outcome.UNWELL),
        (BEGUN, {"on_next": True, "report": {"state": "running", "failed": []}}, 1001, Outcome.WELL),
        (BEGUN, {"on_next": True, "report": {"state": "degraded", "failed": ["app.service"]}}, 1001, Outcome.UNWELL),
        (BEGUN, {"on_former": True, "report": {"state": "running"}}, 1001, Outcome.WELL),
    ],
)
def test_what_was_seen_decides(upgrade: Upgrade, seen: dict[str, Any], now: float, outcome: Outcome) -> None:
    found, reason = outcome_of(upgrade, Seen(**seen), now, 900)
    assert found is outcome
    assert bool(reason) is (outcome is Outcome.UNWELL)


def test_the_reason_names_the_units() -> None:
    seen = Seen(report={"state": "degraded", "failed": ["a.service", "b.service"]})
    _, reason = outcome_of(BEGUN, seen, 1001, 900)
    assert reason == "it reported that it is degraded: a.service, b.service failed"
