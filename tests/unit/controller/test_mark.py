"""Which database knows the machines whose volumes are here: another one, an empty one and a lost one are refused."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

import pytest

from terra_core.config.controller import Controller, Paths
from terra_core.controller.daemon import open_store
from terra_core.errors import TerraError
from tests.unit.controller.fakes import World, make_site

GO_ON = "put the database back that belongs to them"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """Make the root of a controller that has one machine."""
    paths = Paths(tmp_path / "root")
    start(paths)
    site = make_site(paths.root, World())
    site.provision()
    site.operations.stop()
    site.store.close()
    return paths


def start(paths: Paths, database: str | None = None) -> None:
    """Open the records as a controller does at its start."""
    open_store(Controller(database=database), paths, paths.root / "iscsi").close()


def refused(paths: Paths, database: str | None = None) -> str:
    before = {path: path.read_bytes() for path in sorted(paths.root.rglob("*")) if path.is_file()}
    with pytest.raises(TerraError) as caught:
        start(paths, database)
    assert GO_ON in caught.value.hint
    assert "terra controller --stop" in caught.value.hint
    after = {path: path.read_bytes() for path in sorted(paths.root.rglob("*")) if path.is_file()}
    assert {path for path in after if "other.db" not in path.name} == set(before), "nothing is made in its place"
    return caught.value.message


def unmark(paths: Paths) -> None:
    os.removexattr(paths.root / "iscsi", "user.terra.database")


def remove_database(paths: Paths) -> None:
    for path in paths.state.glob("terra.db*"):
        path.unlink()


def test_its_own_is_opened_again(paths: Paths) -> None:
    for _ in range(2):
        start(paths)
    assert [path.name for path in (paths.root / "iscsi").iterdir()] == ["cm-01"]


def test_volumes_are_known_only_where_they_were_marked_before(paths: Paths) -> None:
    def known() -> Path | None:
        store = open_store(Controller(), paths, paths.root / "iscsi")
        store.close()
        return store.known_volumes

    assert known() == paths.root / "iscsi"
    unmark(paths)
    assert known() is None, "whoever has provisioned before gets the mark, but the volumes may be of others"
    assert known() == paths.root / "iscsi"


def test_one_that_is_lost_is_not_replaced_by_an_empty_one(paths: Paths) -> None:
    remove_database(paths)
    message = refused(paths)
    of_others = f"{paths.root}/iscsi is of machines that it does not know"
    assert message == f"{paths.state / 'terra.db'}: the database is empty, and {of_others}"
    assert not (paths.state / "terra.db").exists()
    assert refused(paths) == message, "the second time, too"


def test_an_empty_one_in_its_place_is_refused(paths: Paths) -> None:
    remove_database(paths)
    (paths.state / "terra.db").touch()
    assert "the database is empty" in refused(paths)
    assert "the database is empty" in refused(paths)


def test_another_one_is_refused_empty_or_not(paths: Paths, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    assert "the database is empty" in refused(paths, f"sqlite:///{other}")
    elsewhere = Paths(tmp_path / "elsewhere")
    start(elsewhere)
    site = make_site(elsewhere.root, World())
    site.begin()
    site.operations.stop()
    site.store.close()
    assert "the database is another one" in refused(paths, f"sqlite:///{elsewhere.state / 'terra.db'}")


def test_names_do_not_repeat_after_the_last_machine_has_gone(paths: Paths) -> None:
    site = make_site(paths.root, World())
    site.delete()
    site.operations.stop()
    site.store.close()
    remove_database(paths)
    assert "the database is empty" in refused(paths)


def test_machines_of_a_time_without_marks_are_found_by_their_disks(paths: Paths) -> None:
    unmark(paths)
    remove_database(paths)
    disk = paths.root / "iscsi" / "cm-01/0.lun"
    assert f"{disk} is the disk of a machine that it does not know" in refused(paths)


def test_a_database_of_a_time_without_marks_gets_one(paths: Paths) -> None:
    unmark(paths)
    connection = sqlite3.connect(paths.state / "terra.db")
    connection.execute("delete from about where key = 'identity'")
    connection.commit()
    connection.close()
    start(paths)
    remove_database(paths)
    refused(paths)


def test_going_on_as_the_hint_says(paths: Paths, tmp_path: Path) -> None:
    kept = {path.name: path.read_bytes() for path in paths.state.glob("terra.db*")}
    remove_database(paths)
    refused(paths)
    for name, content in kept.items():
        (paths.state / name).write_bytes(content)
    start(paths)
    remove_database(paths)
    (paths.root / "iscsi").rename(tmp_path / "given up")
    start(paths)
    start(paths)


@pytest.fixture
def plain(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the mark on a file system without attributes, such as a tmpfs of Linux 6.1."""
    unmark(paths)

    def unsupported(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    for name in ("getxattr", "setxattr"):
        monkeypatch.setattr(os, name, unsupported)
    start(paths)
    return paths.root / "iscsi" / ".terra-database"


def test_without_attributes_it_is_a_file(paths: Paths, plain: Path) -> None:
    assert plain.stat().st_mode & 0o777 == 0o600
    start(paths)
    remove_database(paths)
    assert "the database is empty" in refused(paths)


@pytest.mark.parametrize("kind", ["fifo", "link", "directory", "empty"])
def test_a_mark_that_is_none_is_refused_and_not_waited_for(paths: Paths, plain: Path, kind: str, tmp_path: Path) -> None:
    plain.rename(tmp_path / "mark")
    if kind == "fifo":
        os.mkfifo(plain)
    elif kind == "link":
        plain.symlink_to(tmp_path / "mark")
    elif kind == "directory":
        plain.mkdir()
    else:
        plain.touch()
    with pytest.raises(TerraError):
        start(paths)


def test_volumes_that_cannot_be_marked_keep_no_controller_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = Paths(tmp_path)
    (paths.root / "iscsi").write_text("a file in the place of the directory")
    start(paths)
    assert "cannot be marked" in capsys.readouterr().out
