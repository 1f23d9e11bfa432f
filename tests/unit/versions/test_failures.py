"""Why versions were given up, as it is kept beside them."""

from __future__ import annotations

from pathlib import Path

from terra_core.config.node import OWN
from terra_core.versions.failures import failures, forget_failure, make_room, note_failure


def test_a_reason_is_kept_until_it_is_forgotten(tmp_path: Path) -> None:
    assert failures(tmp_path) == {}
    forget_failure(tmp_path, "os.1")
    note_failure(tmp_path, "os.1", "the network did not come up\n")
    note_failure(tmp_path, "os.2", "x" * 5000)
    found = failures(tmp_path)
    assert found["os.1"].reason == "the network did not come up"
    assert found["os.1"].time.endswith("+00:00")
    assert len(found["os.2"].reason) == 2000
    note_failure(tmp_path, "os.1", "another")
    assert failures(tmp_path)["os.1"].reason == "another"
    forget_failure(tmp_path, "os.1")
    assert list(failures(tmp_path)) == ["os.2"]


def test_the_room_for_a_reason_is_none(tmp_path: Path) -> None:
    make_room(tmp_path)
    make_room(tmp_path)
    assert failures(tmp_path) == {}


def test_a_reason_that_cannot_be_read_is_still_one(tmp_path: Path) -> None:
    place = tmp_path / OWN / "failed"
    place.mkdir(parents=True)
    (place / "os.1").write_text("[")
    (place / "os.2").symlink_to("/etc/passwd")
    (place / ".os.3.new").write_text("half")
    assert sorted(failures(tmp_path)) == ["os.1", "os.2"]
    assert all(one.reason.startswith("the reason cannot be read: ") for one in failures(tmp_path).values())
