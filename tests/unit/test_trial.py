"""What a machine that is tried says, and what is made of it."""

from __future__ import annotations

import pytest

from terra_core.hookspecs import Trial
from terra_core.trial import explain, read_answer

DEGRADED = """\
terra-trial: jobs
1 one.service start running
terra-trial: state degraded
broken.service loaded failed failed A unit that is broken
terra-trial: journal
Jan 01 00:00:00 example systemd[1]: Failed to start broken.service
terra-trial: end
"""


def test_a_healthy_machine() -> None:
    trial = read_answer("terra-trial: state running\nterra-trial: journal\nterra-trial: end\n")
    assert trial == Trial(state="running")
    assert trial is not None
    assert trial.healthy


def test_a_degraded_machine_is_shown_with_its_units_and_errors() -> None:
    trial = read_answer(DEGRADED)
    assert trial is not None
    assert not trial.healthy
    text = str(explain(trial, "a/b:1"))
    assert text.splitlines()[0] == "a/b:1: the test failed: its system is degraded"
    assert "  broken.service loaded failed failed A unit that is broken" in text
    assert "Failed to start broken.service" in text


@pytest.mark.parametrize("length", [0, 20, 60, 120, len(DEGRADED) - 5])
def test_a_machine_that_is_not_through_has_not_answered(length: int) -> None:
    assert read_answer(DEGRADED[:length]) is None


def test_a_machine_that_never_answers() -> None:
    assert "did not come up in time" in str(explain(Trial(state="", errors="Kernel panic"), "a/b:1"))
