"""LUN files on real file systems: full ones, and directories with traps."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from terra_core.config.controller import Paths
from terra_core.config.node import DiskGroup
from terra_core.config.session import Session
from terra_core.config.structure import structure
from terra_core.config.values import Address, Hostname
from terra_core.errors import ConflictError, InterruptedWork, TerraError
from terra_core.hookspecs import Lun, Target, TargetRequest
from terra_core.system.mounts import mounted
from terra_core.system.progress import Event
from terra_iscsi import plugin

MB = 1024 * 1024


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(paths=Paths(tmp_path / "root"))


def plan(session: Session, *sizes: int) -> Target:
    disks = [{"device": f"/dev/sd{letter}", "size": size} for letter, size in zip("abcdef", sizes, strict=False)]
    request = TargetRequest(
        hostname=Hostname("cm-01"),
        number=2,
        generation=1,
        group=structure({"label": "os", "disk": disks}, DiskGroup),
        first_lun=0,
        boot=True,
        portal=Address("10.0.10.4"),
    )
    return plugin.plan_target(request, session)


def enter(target: Target, session: Session, failure: BaseException | None = None) -> None:
    with plugin.provision_target(target, session):
        if failure:
            raise failure


def everything(session: Session) -> list[str]:
    return sorted(str(path.relative_to(session.paths.root)) for path in session.paths.root.rglob("*"))


def test_files_are_sparse_of_exact_size_and_for_root_alone(session: Session) -> None:
    target = plan(session, 1000, 64)
    assert everything(session) == []
    former = os.umask(0)
    try:
        enter(target, session)
    finally:
        os.umask(former)
    for lun in target.luns:
        status = Path(lun.path).stat()
        assert stat.S_ISREG(status.st_mode)
        assert stat.S_IMODE(status.st_mode) == 0o600
        assert status.st_size == lun.size * MB
        assert status.st_blocks == 0
    assert stat.S_IMODE((session.paths.iscsi / "cm-01").stat().st_mode) == 0o700
    assert [Path(lun.path) for lun in target.luns] == [session.paths.iscsi / f"cm-01/{at}.lun" for at in (0, 1)]


@pytest.mark.parametrize("failure", [KeyboardInterrupt(), InterruptedWork("enough"), RuntimeError()])
def test_a_failure_takes_the_files_away(session: Session, failure: BaseException) -> None:
    with pytest.raises(type(failure)):
        enter(plan(session, 16, 16), session, failure)
    assert everything(session) == ["iscsi"]


def test_an_interruption_while_reporting(session: Session) -> None:
    def enough(event: Event) -> None:
        raise InterruptedWork("enough")

    with pytest.raises(InterruptedWork):
        enter(plan(session, 16), session.reporting_to(enough))
    assert everything(session) == []


def test_somebody_elses_file_is_refused_before_anything_is_planned(session: Session) -> None:
    file = session.paths.iscsi / "cm-01/1.lun"
    file.parent.mkdir(parents=True)
    file.write_text("precious")
    with pytest.raises(ConflictError, match=f"{file}: is there already"):
        plan(session, 16, 16)
    assert file.read_text() == "precious"


def test_a_file_that_came_since_the_plan_is_kept(session: Session) -> None:
    target = plan(session, 16, 16)
    file = Path(target.luns[1].path)
    file.parent.mkdir(parents=True)
    file.write_text("precious")
    with pytest.raises(ConflictError, match=f"{file}: is there already"):
        enter(target, session)
    assert file.read_text() == "precious"
    assert everything(session) == ["iscsi", "iscsi/cm-01", "iscsi/cm-01/1.lun"]


def test_links_are_not_followed(session: Session, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    session.paths.iscsi.mkdir(parents=True)
    target = plan(session, 16)
    host = session.paths.iscsi / "cm-01"
    host.symlink_to(elsewhere)
    with pytest.raises(TerraError, match=f"{host}: is a link"):
        enter(target, session)
    with pytest.raises(TerraError, match=f"{host}: is a link"):
        plugin.release_target(target, session)
    host.unlink()
    host.mkdir()
    (host / "0.lun").symlink_to(elsewhere / "new")
    with pytest.raises(ConflictError):
        enter(target, session)
    assert not list(elsewhere.iterdir())


def test_releasing_removes_a_link_and_not_what_it_leads_to(session: Session, tmp_path: Path) -> None:
    target = plan(session, 16)
    enter(target, session)
    precious = tmp_path / "precious"
    precious.write_text("kept")
    file = Path(target.luns[0].path)
    file.unlink()
    file.symlink_to(precious)
    assert plugin.release_target(target, session) is True
    assert precious.read_text() == "kept"
    assert everything(session) == ["iscsi"]


def test_the_iscsi_directory_itself_may_be_elsewhere(session: Session, tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    session.paths.root.mkdir()
    session.paths.iscsi.symlink_to(tmp_path / "big")
    target = plan(session, 16)
    enter(target, session)
    assert (tmp_path / "big/cm-01/0.lun").stat().st_size == 16 * MB
    assert plugin.release_target(target, session) is True
    assert not list((tmp_path / "big").iterdir())


@pytest.mark.parametrize("path", ["/etc/passwd", "{iscsi}/0.lun", "{iscsi}/cm-01/../../0.lun", "{iscsi}/a/b/0.lun", "relative"])
def test_nothing_outside_is_removed(path: str, session: Session) -> None:
    session.paths.iscsi.mkdir(parents=True)
    lun = Lun(id=1, path=path.format(iscsi=session.paths.iscsi), size=16)
    stray = Target(label="os", iqn="iqn.2024.x:y", id=1, initiator="iqn.2024.x:z", portal=Address("10.0.10.4"), luns=(lun,))
    with pytest.raises(TerraError, match="is no LUN file of"):
        plugin.release_target(stray, session)
    assert Path("/etc/passwd").exists()


def test_the_directory_stays_while_something_is_in_it(session: Session) -> None:
    target = plan(session, 16)
    enter(target, session)
    note = session.paths.iscsi / "cm-01/note"
    note.write_text("kept")
    assert plugin.release_target(target, session) is True
    assert note.read_text() == "kept"


@pytest.fixture
def tiny(session: Session) -> Iterator[Path]:
    """A file system with room for hardly any file."""
    session.paths.iscsi.mkdir(parents=True)
    options = ("size=8m", "nr_inodes=3")
    with mounted(Path("none"), session.paths.iscsi, filesystem="tmpfs", options=options) as place:
        yield place


def test_a_full_disk_is_said_to_be_full(session: Session, tiny: Path) -> None:
    with pytest.raises(TerraError, match=r"1\.lun: the disk is full"):
        enter(plan(session, 16, 16), session)
    assert not list(tiny.iterdir())


def test_less_space_than_promised_is_worth_a_warning(session: Session, tiny: Path) -> None:
    heard: list[Event] = []
    enter(plan(session, 16), session.reporting_to(heard.append))
    assert "warning: 16 MB are promised to iqn.2024.san.terra.internal.cm-01:fs, and 8 MB are free" in heard[0].text
