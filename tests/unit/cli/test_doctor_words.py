"""What ``terra doctor`` prints, and whom it asks to mend."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from terra_core import doctor
from terra_core.cli import connection, run, terra
from terra_core.doctor import Looked
from terra_core.doctor.finding import Off


def found(monkeypatch: pytest.MonkeyPatch, *off: Off) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(doctor, "look", lambda *_: Looked(off=off, controller=1))


def test_the_controller_of_another_root_is_not_asked_to_mend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found(monkeypatch)
    other = SimpleNamespace(info=lambda: SimpleNamespace(root="/srv/other"))  # whatever else were asked would be an error
    monkeypatch.setattr(connection, "connect", lambda _: other)
    assert run(terra, ["doctor", "--fix", "--root", str(tmp_path)]) == 1
    assert f"the controller that answers has /srv/other for its root, and not {tmp_path}" in capsys.readouterr().err


def test_the_name_of_a_file_has_no_line_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found(monkeypatch, Off(part="volumes", problem="/iscsi/a\nvolumes: fine\x1b[2J: is empty", hint="rmdir '/iscsi/a\nb'"))
    assert run(terra, ["doctor", "--root", str(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith("    ")] == ["volumes: /iscsi/a"]
