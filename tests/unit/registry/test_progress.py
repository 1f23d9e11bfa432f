"""What a pull says of itself."""

from __future__ import annotations

import pytest

from terra_core.registry import progress
from terra_core.registry.progress import Progress
from terra_core.system.progress import Event


def test_that_all_has_come_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_BETWEEN_REPORTS", 0.0)
    events: list[Event] = []
    tell = Progress("pulling x", events.append)
    for done in (1, 1, 2, 2, 2, 2):
        tell(done, 2)
    assert [event.done for event in events] == [1, 1, 2]
    tell(1, 2)
    tell(2, 2)
    assert [event.done for event in events] == [1, 1, 2, 1, 2], "a second image begins again"
