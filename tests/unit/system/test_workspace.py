"""Where large work is done."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from terra_core.errors import TerraError
from terra_core.system.workspace import image_workspace, roomy, workspace


def test_large_work_goes_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with image_workspace() as work:
        assert work.parent == tmp_path
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", ".")
    assert roomy() == tmp_path


@pytest.mark.parametrize(
    ("place", "reason"),
    [("/nowhere", "is no directory"), ("/etc/passwd", "is no directory"), ("/proc", "takes no new directory: No such file")],
)
def test_a_place_that_takes_no_work_is_named(place: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", place)
    with pytest.raises(TerraError, match=f"^{place}, where large temporary files go, {reason}") as caught, image_workspace():
        pass
    assert caught.value.hint == "name one that has room, by TMPDIR"


def test_a_place_of_the_controllers_own_is_named_too(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    with pytest.raises(TerraError, match=rf"^{re.escape(str(gone))}/x-\w+: No such file"), workspace("x-", place=gone):
        pass
