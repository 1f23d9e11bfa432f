"""The files of volumes on real file systems: full ones, ones that share blocks, and directories with traps."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from attrs import evolve

from terra_core.config.controller import Paths
from terra_core.config.session import Session
from terra_core.config.values import Hostname
from terra_core.errors import ConflictError, InterruptedWork, TerraError
from terra_core.hookspecs import Backing, Volume, VolumeRequest
from terra_core.system.mounts import loop_device, mounted
from terra_core.system.process import run
from terra_core.system.progress import Event
from terra_file import plugin

MB = 1024 * 1024


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(paths=Paths(tmp_path / "root"))


def plan(session: Session, *sizes: int) -> list[Volume]:
    requests = [VolumeRequest(hostname=Hostname("cm-01"), number=at, size=size) for at, size in enumerate(sizes)]
    return [plugin.plan_volume(request, session) for request in requests]


def enter(volumes: list[Volume], session: Session, failure: BaseException | None = None) -> None:
    with ExitStack() as stack:
        for volume in volumes:
            stack.enter_context(plugin.make_volume(volume, session))
        if failure:
            raise failure


def fill(path: Path) -> None:
    """Take all that is free on a file system."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(os.urandom(MB))


def release(volumes: list[Volume], session: Session) -> bool:
    return any([plugin.remove_volume(volume, session) for volume in volumes])  # noqa: C419  # each of them


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
    for lun in target:
        status = Path(lun.name).stat()
        assert stat.S_ISREG(status.st_mode)
        assert stat.S_IMODE(status.st_mode) == 0o600
        assert status.st_size == lun.size * MB
        assert status.st_blocks == 0
    assert stat.S_IMODE((session.paths.root / "iscsi/cm-01").stat().st_mode) == 0o700
    assert [Path(lun.name) for lun in target] == [session.paths.root / f"iscsi/cm-01/{at}.lun" for at in (0, 1)]


@pytest.mark.parametrize("filesystem", ["btrfs", "ext4"])
def test_a_full_disk_has_room_of_its_own_for_all_that_is_written(filesystem: str, session: Session, tmp_path: Path) -> None:
    place, image = session.paths.root / "iscsi", tmp_path / "image"
    place.mkdir(parents=True)
    with image.open("wb") as file:
        file.truncate(400 * MB)
    run([f"mkfs.{filesystem}", "-q", image])
    (thin,) = plan(session, 64)
    full, cloned, more = (evolve(one, name=one.name.replace("cm-01", "cm-02"), full=True) for one in plan(session, 64, 64, 900))
    with loop_device(image) as device, mounted(device, place, filesystem=filesystem):
        enter([thin, full], session)
        with plugin.open_volume(thin, session) as path:
            path.write_bytes(b"origin" * MB + bytes(64 * MB - 6 * MB))
        with plugin.clone_volume(thin, cloned, session):
            pass
        assert Path(cloned.name).read_bytes() == Path(thin.name).read_bytes()
        with pytest.raises(TerraError, match="the disk is full"):
            enter([more], session)
        assert not Path(more.name).exists()
        fill(place / "filler")
        for volume in (full, cloned):
            for _ in range(2):
                with Path(volume.name).open("r+b", buffering=0) as file:
                    for at in range(0, 64 * MB, 4 * MB):
                        assert os.pwrite(file.fileno(), os.urandom(4096), at) == 4096
                    os.fsync(file.fileno())
        room = plugin.measure_store(session)
        assert room.free < room.reserve == room.size * 5 // 100


def test_a_copy_where_no_blocks_are_shared_leaves_what_is_kept_for_other_machines(session: Session) -> None:
    place = session.paths.root / "iscsi"
    place.mkdir(parents=True)
    origin, copy = (evolve(one, name=one.name.replace("cm-01", name)) for one in plan(session, 200) for name in "ab")
    keeping = evolve(session, tables={"file": {"reserve": "128MiB"}})
    with mounted(Path("none"), place, filesystem="tmpfs", options=("size=400m",)):
        enter([origin], session)
        with Path(origin.name).open("r+b") as file:
            file.write(bytes(150 * MB))
        with pytest.raises(TerraError, match=r"250 MB are free, 128 MB of them are kept .* and the copy needs 150"):
            plugin.clone_volume(origin, copy, keeping).__enter__()
        assert not Path(copy.name).exists()

        def taken_meanwhile(event: Event) -> None:
            if event.done == 32 and not (place / "filler").exists():
                (place / "filler").write_bytes(bytes(120 * MB))

        with pytest.raises(TerraError, match=r"there is no room for a copy: \d+ MB are free"):
            plugin.clone_volume(origin, copy, evolve(session, report=taken_meanwhile)).__enter__()
        assert not Path(copy.name).exists()


def test_an_interruption_while_reporting(session: Session) -> None:
    def enough(event: Event) -> None:
        raise InterruptedWork("enough")

    with pytest.raises(InterruptedWork):
        enter(plan(session, 16), session.reporting_to(enough))
    assert everything(session) == []


def test_links_are_not_followed(session: Session, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (session.paths.root / "iscsi").mkdir(parents=True)
    target = plan(session, 16)
    host = session.paths.root / "iscsi/cm-01"
    host.symlink_to(elsewhere)
    with pytest.raises(TerraError, match=f"{host}: is a link"):
        enter(target, session)
    with pytest.raises(TerraError, match=f"{host}: is a link"):
        release(target, session)
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
    file = Path(target[0].name)
    file.unlink()
    file.symlink_to(precious)
    assert release(target, session) is True
    assert precious.read_text() == "kept"
    assert everything(session) == ["iscsi"]


def test_the_directory_itself_may_be_elsewhere(session: Session, tmp_path: Path) -> None:
    (tmp_path / "big").mkdir()
    session.paths.root.mkdir()
    (session.paths.root / "iscsi").symlink_to(tmp_path / "big")
    target = plan(session, 16)
    enter(target, session)
    assert (tmp_path / "big/cm-01/0.lun").stat().st_size == 16 * MB
    assert release(target, session) is True
    assert not list((tmp_path / "big").iterdir())


@pytest.mark.parametrize("path", ["/etc/passwd", "{iscsi}/cm-01/../../0.lun", "{iscsi}/cm-01/0.lun/x", "relative", "a/0.lun"])
def test_nothing_outside_is_removed(path: str, session: Session) -> None:
    (session.paths.root / "iscsi").mkdir(parents=True)
    stray = Volume(name=path.format(iscsi=session.paths.root / "iscsi"), size=16)
    with pytest.raises(TerraError, match="is no volume of"):
        plugin.remove_volume(stray, session)
    assert Path("/etc/passwd").exists()


def test_the_directory_stays_while_something_is_in_it(session: Session) -> None:
    target = plan(session, 16)
    enter(target, session)
    note = session.paths.root / "iscsi/cm-01/note"
    note.write_text("kept")
    assert release(target, session) is True
    assert note.read_text() == "kept"


@pytest.fixture
def tiny(session: Session) -> Iterator[Path]:
    """Mount a file system with room for hardly any file."""
    (session.paths.root / "iscsi").mkdir(parents=True)
    options = ("size=8m", "nr_inodes=3")
    with mounted(Path("none"), session.paths.root / "iscsi", filesystem="tmpfs", options=options) as place:
        yield place


def test_a_full_disk_is_said_to_be_full(session: Session, tiny: Path) -> None:
    with pytest.raises(TerraError, match=r"1\.lun: the disk is full"):
        enter(plan(session, 16, 16), session)
    assert not list(tiny.iterdir())


def test_less_space_than_promised_is_worth_a_warning(session: Session, tiny: Path) -> None:
    heard: list[Event] = []
    enter(plan(session, 16), session.reporting_to(heard.append))
    place = session.paths.root / "iscsi/cm-01/0.lun"
    assert f"warning: 16 MB are promised to {place}, and 8 MB are free" in heard[0].text


@pytest.mark.parametrize("fault", ["symlink", "directory", "host-symlink"])
def test_a_file_that_is_not_what_it_was_is_never_made_anew(fault: str, session: Session, tmp_path: Path) -> None:
    (volume,) = volumes = plan(session, 16)
    enter(volumes, session)
    file = Path(volume.name)
    assert plugin.reach_volume(volume, session) == Backing(kind="file", address=str(file))
    if fault == "host-symlink":
        file.parent.rename(tmp_path / "moved")
        file.parent.symlink_to(tmp_path / "moved")
    else:
        file.rename(tmp_path / "moved")
        if fault == "symlink":
            file.symlink_to(tmp_path / "moved")
        elif fault == "directory":
            file.mkdir()
    before = sorted(path.lstat().st_mode for path in (session.paths.root / "iscsi").rglob("*"))
    with pytest.raises(TerraError, match=r"LUN file|is a link"):
        plugin.reach_volume(volume, session)
    with pytest.raises(TerraError, match=r"LUN file|is a link"), plugin.open_volume(volume, session):
        raise AssertionError("not reached")
    assert sorted(path.lstat().st_mode for path in (session.paths.root / "iscsi").rglob("*")) == before


def written(volume: Volume, at: int, content: bytes) -> None:
    with Path(volume.name).open("r+b") as file:
        file.seek(at)
        file.write(content)


def cloned(session: Session, size: int = 16) -> tuple[Volume, Volume]:
    """Make a volume with a word at the beginning and near the end, and a clone of it as the machine's second disk."""
    origin, clone = plan(session, 16, size)
    enter([origin], session)
    for at in (0, 12 * MB):
        written(origin, at, b"origin")
    with plugin.clone_volume(origin, clone, session):
        pass
    return origin, clone


def test_a_write_shows_in_the_stamp_also_when_its_time_is_set_back(session: Session) -> None:
    origin, _ = cloned(session)
    stamp, file = plugin.stamp_volume(origin, session), Path(origin.name)
    former = file.stat()
    written(origin, 8, b"another")
    os.utime(file, ns=(former.st_atime_ns, former.st_mtime_ns))
    assert plugin.stamp_volume(origin, session) != stamp


@pytest.mark.parametrize("filesystem", ["btrfs", "tmpfs"])
def test_a_clone_is_the_same_and_goes_its_own_way(filesystem: str, session: Session, tmp_path: Path) -> None:
    place = session.paths.root / "iscsi"
    place.mkdir(parents=True)
    heard: list[Event] = []
    with ExitStack() as stack:
        if filesystem == "btrfs":
            image = tmp_path / "image"
            with image.open("wb") as file:
                file.truncate(200 * MB)
            run(["mkfs.btrfs", "--quiet", image])
            device = stack.enter_context(loop_device(image))
            stack.enter_context(mounted(device, place, filesystem="btrfs"))
        else:
            stack.enter_context(mounted(Path("none"), place, filesystem="tmpfs", options=("size=200m",)))
        origin, clone = cloned(session.reporting_to(heard.append))
        assert Path(clone.name).read_bytes() == Path(origin.name).read_bytes()
        assert Path(clone.name).stat().st_blocks * 512 < 2 * MB, "holes stay holes"
        written(clone, 0, b"clone!")
        written(origin, 12 * MB, b"change")
        assert Path(origin.name).read_bytes()[:6] == b"origin"
        assert Path(clone.name).read_bytes()[12 * MB : 12 * MB + 6] == b"origin"
        shares = not any("shares no blocks" in event.text for event in heard)
        assert shares is (filesystem == "btrfs")
        assert release([origin, clone], session) is True


def test_a_clone_may_be_larger(session: Session) -> None:
    _, clone = cloned(session, 24)
    assert Path(clone.name).stat().st_size == 24 * MB
    assert plugin.reach_volume(clone, session).address == clone.name


def test_all_of_a_host_goes_though_nobody_knows_its_volumes(session: Session) -> None:
    enter(plan(session, 16, 16), session)
    assert plugin.remove_volumes(Hostname("cm-01"), session) is True
    assert everything(session) == ["iscsi"]
    assert plugin.remove_volumes(Hostname("cm-01"), session) is False


def test_volumes_of_a_former_directory_are_reached_and_removed(session: Session) -> None:
    (volume,) = volumes = plan(session, 16)
    enter(volumes, session)
    moved = evolve(session, tables={"file": {"directory": "/srv/volumes"}})
    assert plugin.volume_directory(moved) == session.paths.root / "srv/volumes"
    assert plugin.reach_volume(volume, moved).address == volume.name
    assert plugin.remove_volume(volume, moved) is True
    assert everything(session) == ["iscsi"]
