"""What tgtadm's answers mean."""

from __future__ import annotations

import pytest

from terra_core.errors import CommandError
from terra_iscsi import control
from terra_iscsi.control import Control


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("tgtadm: exit code 22: tgtadm -C 0\ntgtadm: out of memory", "raise TasksMax of the unit"),
        ("tgtadm: exit code 22: tgtadm -C 0\ntgtadm: this target already exists", ""),
    ],
)
def test_no_more_threads_is_not_called_memory_alone(monkeypatch: pytest.MonkeyPatch, said: str, hint: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise CommandError(said)

    monkeypatch.setattr(control, "run", refuse)
    with pytest.raises(CommandError) as caught:
        Control(0).ask("--mode", "logicalunit", "--op", "new")
    assert caught.value.message == said
    assert hint in caught.value.hint
    assert bool(hint) is bool(caught.value.hint)
