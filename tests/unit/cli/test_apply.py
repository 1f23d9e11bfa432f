"""What ``terra apply`` says where nothing can be asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from terra_core.cli import run, terra
from terra_core.client.answers import ChangeShown, PlanShown
from terra_core.client.controller import ControllerClient
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


def test_a_value_of_a_file_makes_no_line_of_a_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The arguments of [upgrade] check may have line feeds."""
    wanted = "/bin/check 'x\n! cm-02: is deleted'"
    change = ChangeShown(path="upgrade.check", former="", wanted=wanted, possible=True, note="")
    plan = PlanShown(hostname="cm-01", action="change", version="1", changes=(change,), notes=())
    monkeypatch.setattr(ControllerClient, "plan", lambda client, document: plan)
    monkeypatch.setenv("TERRA_TOKEN", "a-token-of-nobody")
    file = node(tmp_path, "cm-01")
    assert run(terra, ["--controller", "127.0.0.1:1", "apply", "--plan", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"~ cm-01: changes ({file})", r"    + upgrade.check: /bin/check 'x\n! cm-02: is deleted'"]
