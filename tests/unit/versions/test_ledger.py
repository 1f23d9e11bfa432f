"""What a machine was told last of its versions, as it is kept beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from terra_core.config.node import OWN
from terra_core.errors import TerraError
from terra_core.versions.ledger import Ledger, note_removed, read_ledger, write_ledger


def test_what_is_written_down_is_read(tmp_path: Path) -> None:
    assert read_ledger(tmp_path) == Ledger()
    told = Ledger(kept="os.1", once="os.2", number=3)
    write_ledger(tmp_path, told)
    assert read_ledger(tmp_path) == told
    assert (tmp_path / OWN).stat().st_mode & 0o777 == 0o700


def test_a_number_is_counted_for_good(tmp_path: Path) -> None:
    write_ledger(tmp_path, Ledger(kept="os.1"))
    for name in ("os.4", "os.2", "before", "os"):
        note_removed(tmp_path, name)
    assert read_ledger(tmp_path) == Ledger(kept="os.1", number=4)


@pytest.mark.parametrize(
    "content", [b"", b"[", b"[]", b"7", b'{"kept": 1}', b'{"other": ""}', b"\xff", b"[" * 30_000, b"{}" * 40_000]
)
def test_of_what_cannot_be_read_nothing_is_known(content: bytes, tmp_path: Path) -> None:
    (tmp_path / OWN).mkdir()
    (tmp_path / OWN / "ledger.json").write_bytes(content)
    assert read_ledger(tmp_path) == Ledger()
    (tmp_path / OWN / "ledger.json").unlink()
    (tmp_path / OWN / "ledger.json").symlink_to("/etc/passwd")
    assert read_ledger(tmp_path) == Ledger()


def test_an_old_word_does_not_stay_where_the_new_one_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ledger(tmp_path, Ledger(kept="os"))

    def full(*words: object, **named: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("terra_core.versions.ledger.write_file", full)
    with pytest.raises(TerraError, match=r"ledger\.json: cannot be written: No space left"):
        write_ledger(tmp_path, Ledger(kept="os.1"))
    assert read_ledger(tmp_path) == Ledger()
