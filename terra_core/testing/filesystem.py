"""What the contract promises of the role ``filesystem``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import pytest

from terra_core.config.node import OS_LABEL, DiskGroup
from terra_core.config.session import Session
from terra_core.config.structure import structure
from terra_core.errors import TerraError
from terra_core.hookspecs import Filesystem, PreparedGroup
from terra_core.image.contained import ContainedRoot
from terra_core.mounting import in_order, make_mounts
from terra_core.system.disks import signatures_of
from terra_core.system.mounts import loop_devices, mount_points, sweep
from terra_core.system.process import run
from terra_core.system.undo import Undo
from terra_core.testing.conformance import Conformance, assert_is_script, killed_within

_MB = 1024 * 1024


class FilesystemConformance(Conformance[Filesystem]):
    """The promises of a filesystem plugin, on image files as disks.

    :cvar disk_size: the size of a disk that is large enough, in MB.
    :cvar groups: further keys of a ``[[groups]]`` entry that the plugin can do, and the number of disks, by a name.
    :cvar refused: the same for what it cannot do, of which it has to say so before anything is written; a mount option that no
        file system knows at least.
    """

    _role = Filesystem
    disk_size: ClassVar[int] = 300
    groups: ClassVar[Mapping[str, tuple[Mapping[str, object], int]]] = {"one disk": ({}, 1)}
    refused: ClassVar[Mapping[str, tuple[Mapping[str, object], int]]] = {"an option": ({"options": ["no-such-option"]}, 1)}

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run each test for every group that the class names."""
        for name, cases in (("made", self.groups), ("unmade", self.refused)):
            if name in metafunc.fixturenames:
                metafunc.parametrize(name, list(cases.values()), ids=list(cases))

    @pytest.fixture
    def disks(self, tmp_path: Path) -> Iterator[Path]:
        """Return a directory for disks and mounts, on which nothing is mounted or attached in the end."""
        place = tmp_path / "disks"
        place.mkdir()
        yield place
        left = self.left(place)
        sweep(place, place)
        assert left == []

    def left(self, place: Path) -> list[str]:
        """Return what is mounted below a directory, and the loop devices of its files."""
        found = [str(point.path) for point in mount_points() if place in point.path.parents]
        return found + [str(loop.path) for loop in loop_devices() if place in loop.file.parents]

    def group(self, case: tuple[Mapping[str, object], int], label: str = OS_LABEL) -> DiskGroup:
        """Return a group of as many disks as the case says."""
        keys, count = case
        disks = [{"device": f"/dev/sd{letter}", "size": self.disk_size} for letter in "abcdefgh"[:count]]
        return structure({"label": label, "disk": disks, **keys}, DiskGroup)

    def make_disks(self, place: Path, count: int, size: int = 0) -> list[Path]:
        """Return blank disks."""
        made = [place / f"disk-{at}" for at in range(count)]
        for disk in made:
            disk.touch()
            os.truncate(disk, (size or self.disk_size) * _MB)
        return made

    @contextmanager
    def prepared(
        self, role: Filesystem, session: Session, group: DiskGroup, devices: Sequence[Path], place: Path
    ) -> Iterator[PreparedGroup]:
        """Offer a formatted group, with its parts mounted at ``root`` as core mounts them."""
        work, root = place / "work", place / "root"
        work.mkdir(exist_ok=True)
        root.mkdir(exist_ok=True)
        with Undo() as stack:
            answer = stack.enter_context(role.prepare_disks(group, devices, work, session))
            make_mounts(in_order(answer.mounts), root, stack)
            with ContainedRoot(root) as inside:
                for path in answer.directories:
                    inside.directory(path.strip("/"))
            yield answer

    def use(self, role: Filesystem, session: Session) -> None:
        """Check a group."""
        case = next(iter(self.groups.values()))
        role.check_disks(self.group(case), [self.disk_size * _MB] * case[1], session)

    def test_what_it_can_do_is_said_to_fit(
        self, role: Filesystem, session: Session, made: tuple[Mapping[str, object], int]
    ) -> None:
        sizes = [self.disk_size * _MB] * made[1]
        checked = role.check_disks(self.group(made), sizes, session)
        assert 0 < checked.capacity <= sum(sizes)

    def test_what_it_cannot_do_is_refused_before_anything_is_written(
        self, role: Filesystem, session: Session, unmade: tuple[Mapping[str, object], int]
    ) -> None:
        with pytest.raises(TerraError) as caught:
            role.check_disks(self.group(unmade), [self.disk_size * _MB] * unmade[1], session)
        assert len(str(caught.value)) > 20, "the error says what is wrong and what to do"

    def test_a_disk_that_is_too_small_is_refused_by_name(
        self, role: Filesystem, session: Session, made: tuple[Mapping[str, object], int]
    ) -> None:
        with pytest.raises(TerraError, match="/dev/sda"):
            role.check_disks(self.group(made), [_MB] * made[1], session)

    def test_nothing_is_written_before_it_is_entered(
        self, role: Filesystem, session: Session, disks: Path, made: tuple[Mapping[str, object], int]
    ) -> None:
        devices = self.make_disks(disks, made[1])
        (disks / "work").mkdir()
        role.prepare_disks(self.group(made), devices, disks / "work", session)
        assert [disk.stat().st_blocks for disk in devices] == [0] * made[1]

    def test_a_system_can_be_written_and_is_on_the_disks(
        self, role: Filesystem, session: Session, disks: Path, made: tuple[Mapping[str, object], int]
    ) -> None:
        group, devices = self.group(made), self.make_disks(disks, made[1])
        with self.prepared(role, session, group, devices, disks) as answer:
            root = next(mount for mount in answer.mounts if mount.path == "/")
            assert root.source.startswith("UUID="), "the machine finds it wherever its disks turn up"
            assert answer.kernel_arguments
            assert not answer.root.startswith("/")
            file = disks / "root/file"
            file.write_bytes(b"terra")
            file.chmod(0o4755)
            os.setxattr(file, "user.terra", b"kept")
            assert role.verify_disks(group, disks / "root", session) is True
        assert all(signatures_of(disk) for disk in devices)
        assert self.left(disks) == []

    def test_subvolumes_are_in_their_places(self, role: Filesystem, session: Session, disks: Path) -> None:
        subvolumes = [{"name": "home", "path": "/home"}, {"name": "log", "path": "/var/log"}]
        for at, (label, places) in enumerate({OS_LABEL: ["/", "/home", "/var/log"], "data": ["/home", "/var/log"]}.items()):
            place = disks / str(at)
            place.mkdir()
            group = self.group(({"subvolumes": subvolumes}, 1), label)
            with self.prepared(role, session, group, self.make_disks(place, 1), place):
                for path in places:
                    (place / "root" / path.lstrip("/") / "file").write_text(path)
                for path in places:
                    assert (place / "root" / path.lstrip("/") / "file").read_text() == path

    @pytest.mark.parametrize("failure", [RuntimeError(), TerraError("enough"), KeyboardInterrupt()])
    def test_nothing_stays_mounted_when_what_follows_fails(
        self, role: Filesystem, session: Session, disks: Path, failure: BaseException
    ) -> None:
        case = max(self.groups.values(), key=lambda case: case[1])
        with (
            pytest.raises(type(failure)),
            self.prepared(role, session, self.group(case), self.make_disks(disks, case[1]), disks),
        ):
            raise failure
        assert self.left(disks) == []

    def test_a_disk_that_is_not_blank_is_left_as_it_is(self, role: Filesystem, session: Session, disks: Path) -> None:
        case = next(iter(self.groups.values()))
        group, devices = self.group(case), self.make_disks(disks, case[1])
        with self.prepared(role, session, group, devices, disks):
            (disks / "root/precious").write_text("kept")
        before = [disk.read_bytes()[: 2 * _MB] for disk in devices]
        with pytest.raises(TerraError, match=str(devices[0])), self.prepared(role, session, group, devices, disks):
            raise AssertionError("it was formatted over what it held")
        assert [disk.read_bytes()[: 2 * _MB] for disk in devices] == before

    def copies(self, devices: Sequence[Path], place: Path) -> list[Path]:
        """Return copies of disks, to the last byte."""
        place.mkdir()
        for device in devices:
            run(["cp", "--sparse=always", device, place / device.name], timeout=120)
        return [place / device.name for device in devices]

    def test_a_copy_is_a_file_system_of_its_own_beside_its_origin(
        self, role: Filesystem, session: Session, disks: Path, made: tuple[Mapping[str, object], int]
    ) -> None:
        if not role.brings("renew_identity"):
            return
        group, devices = self.group(made), self.make_disks(disks, made[1])
        with self.prepared(role, session, group, devices, disks) as origin:
            (disks / "root/file").write_bytes(b"terra")
            role.verify_disks(group, disks / "root", session)
        before = [disk.stat().st_mtime_ns for disk in devices]
        copies = [self.copies(devices, disks / name) for name in ("one", "two")]
        with Undo() as stack:
            answers = [stack.enter_context(self.renewed(role, session, group, copy)) for copy in copies]
            for copy, answer in zip(copies, answers, strict=True):
                root = copy[0].parent / "root"
                assert (root / "file").read_bytes() == b"terra"
                (root / "file").write_text(str(copy[0].parent))
                assert role.verify_disks(group, root, session) is True
                former, new = origin.mounts[0], answer.mounts[0]
                assert [mount.path for mount in answer.mounts] == [mount.path for mount in origin.mounts]
                assert (new.options, new.filesystem) == (former.options, former.filesystem)
                assert (answer.directories, answer.root) == (origin.directories, origin.root)
            assert len({answer.mounts[0].source for answer in (origin, *answers)}) == 3, "each is found by a name of its own"
            assert len({answer.kernel_arguments for answer in (origin, *answers)}) == 3, "and so is the root"
            for copy in copies:
                assert (copy[0].parent / "root/file").read_text() == str(copy[0].parent)
        assert [disk.stat().st_mtime_ns for disk in devices] == before, "nobody wrote to the origin"
        assert self.left(disks) == []

    @contextmanager
    def renewed(
        self, role: Filesystem, session: Session, group: DiskGroup, devices: Sequence[Path]
    ) -> Iterator[PreparedGroup]:
        """Offer copies of a group's disks, with their parts mounted at ``root`` beside them as core mounts them."""
        place = devices[0].parent
        (place / "work").mkdir()
        (place / "root").mkdir()
        with Undo() as stack:
            answer = stack.enter_context(role.renew_identity(group, devices, place / "work", session))
            make_mounts(in_order(answer.mounts), place / "root", stack)
            yield answer

    def test_a_disk_that_is_no_copy_is_not_renewed(self, role: Filesystem, session: Session, disks: Path) -> None:
        if not role.brings("renew_identity"):
            return
        case = next(iter(self.groups.values()))
        group, devices = self.group(case), self.make_disks(disks, case[1])
        (disks / "work").mkdir()
        offer = role.renew_identity(group, devices, disks / "work", session)
        assert [disk.stat().st_blocks for disk in devices] == [0] * case[1], "nothing is written before it is entered"
        with pytest.raises(TerraError), offer:
            raise AssertionError("there was nothing on it")
        assert [disk.stat().st_blocks for disk in devices] == [0] * case[1]
        assert self.left(disks) == []

    def test_the_roots_beside_a_mounted_one_are_found(
        self, role: Filesystem, session: Session, disks: Path, made: tuple[Mapping[str, object], int]
    ) -> None:
        if not role.brings("open_roots"):
            return
        (disks / "roots").mkdir()
        with self.prepared(role, session, self.group(made), self.make_disks(disks, made[1]), disks) as answer:
            (disks / "root/file").write_bytes(b"terra")
            with role.open_roots(disks / "root", disks / "roots", session) as roots:
                assert roots.running == (answer.root or OS_LABEL)
                assert (roots.places[roots.running] / "file").read_bytes() == b"terra"
            assert not [path for path in self.left(disks) if path.startswith(str(disks / "roots"))]
        with pytest.raises(TerraError, match="/proc"), role.open_roots(Path("/proc"), disks / "roots", session):
            raise AssertionError("there is no such file system")

    def test_a_root_is_copied_beside_another_and_removed(self, role: Filesystem, session: Session, disks: Path) -> None:
        if not role.brings("copy_root"):
            return
        case = next(iter(self.groups.values()))
        (disks / "roots").mkdir()
        with self.prepared(role, session, self.group(case), self.make_disks(disks, case[1]), disks):
            (disks / "root/file").write_bytes(b"terra")
            (disks / "root/file").chmod(0o4755)
            with role.open_roots(disks / "root", disks / "roots", session) as roots:
                assert roots.top is not None
                origin, further = roots.places[roots.running], [roots.top / name for name in ("copied", "empty", "named")]
                (disks / "root/meanwhile").mkdir()
                assert role.copy_root(origin, further[0], "meanwhile", session) is True
                assert role.copy_root(None, further[1], "", session) is True
                assert {path.name for path in further[0].iterdir()} - {"meanwhile"} == {"file"}
                assert ((further[0] / "file").read_bytes(), (further[0] / "file").stat().st_mode & 0o7777) == (b"terra", 0o4755)
                assert ([*further[1].iterdir()], further[1].stat().st_mode & 0o7777) == ([], 0o755)
                (further[0] / "file").write_text("changed")
                assert (origin / "file").read_bytes() == b"terra", "each is a root of its own"
                further[0].rename(further[2])
            with role.open_roots(disks / "root", disks / "roots", session) as roots:
                assert {"empty", "named", roots.running} == set(roots.places)
                assert (roots.places["named"] / "file").read_text() == "changed"
                assert role.remove_root(roots.places["named"], session) is True
                assert not roots.places["named"].exists()
                assert (roots.places[roots.running] / "file").read_bytes() == b"terra"

    def test_one_disk_twice_is_refused(self, role: Filesystem, session: Session, disks: Path) -> None:
        for case in (case for case in self.groups.values() if case[1] > 1):
            (disk,) = self.make_disks(disks, 1)
            with pytest.raises(TerraError), self.prepared(role, session, self.group(case), [disk] * case[1], disks):
                raise AssertionError("it was formatted twice")
            assert disk.stat().st_blocks == 0

    def test_after_a_kill_blank_disks_can_be_used_again(self, role: Filesystem, session: Session, disks: Path) -> None:
        case = next(iter(self.groups.values()))
        group, devices = self.group(case), self.make_disks(disks, case[1])
        (disks / "work").mkdir()
        killed_within(lambda: role.prepare_disks(group, devices, disks / "work", session))
        sweep(disks, disks)  # as the controller does when it starts
        for disk in devices:
            disk.unlink()
        with self.prepared(role, session, group, self.make_disks(disks, case[1]), disks):
            (disks / "root/file").write_text("written")

    def test_a_machine_is_told_how_to_mount_its_root(self, role: Filesystem, session: Session) -> None:
        for case in self.groups.values():
            assert_is_script(role.mount_root(self.group(case), session).script)
