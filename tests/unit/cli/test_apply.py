"""What ``terra apply`` says where nothing can be asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from terra_core.cli import run, terra
from tests.unit.cli.test_inputs import node


@pytest.mark.parametrize("machines", [1, 3])
def test_that_nobody_answers_is_said_once(
    machines: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERRA_TOKEN", "a-token-of-nobody")
    for number in range(1, machines + 1):
        node(tmp_path, f"cm-{number:02}", number)
    assert run(terra, ["--controller", "127.0.0.1:1", "apply", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert (out + err).count("no controller answers") == 1
    assert "cannot be changed" not in out + err
