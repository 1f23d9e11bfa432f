"""Keeping versions and going back from them, with what their disks, a person and the boot loader have done meanwhile."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import attrs
import pytest
from attrs import define, field

from terra_core.config.session import Session
from terra_core.errors import NotFoundError
from terra_core.hookspecs import Filesystem, Roots, StartChoice
from terra_core.system.progress import Event, silent
from terra_core.upgrade import trial
from terra_core.upgrade.starts import DiskStart, read_starts
from terra_core.upgrade.trial import GoingBack, Opened, OverruledError, State, former, give_up, go_back, keep_tried, settle
from terra_core.upgrade.trial import try_once as tried_once
from terra_core.versions.failures import failures
from terra_core.versions.ledger import Ledger, read_ledger
from terra_core.versions.record import PLACE
from tests.unit.upgrade.test_starts import Loader
from tests.unit.versions.test_record import RECORD

A, B = Path("/dev/sda2"), Path("/dev/sdb2")


@define
class Machine:
    """A machine with two disks, and its versions as directories of ``top``.

    :param running: the version that runs.
    :param trying: whether it runs on trial.
    :param away: disks that are not there.
    :param says: what each disk says.
    """

    top: Path
    running: str = "os"
    trying: bool = False
    away: set[Path] = field(factory=set)
    says: dict[Path, StartChoice] = field(factory=lambda: {A: StartChoice(kept="os"), B: StartChoice(kept="os")})
    told: list[str] = field(factory=list)

    def lay_down(self, name: str, laid: str = "2026-01-01", version: str = "") -> None:
        """Make a version, or a snapshot of one."""
        place = self.top / name / PLACE
        place.mkdir(parents=True)
        record = attrs.evolve(RECORD, version=version or name, laid=laid, image=f"image/of:{name}")
        (place / "record.json").write_text(json.dumps(attrs.asdict(record)))

    def start(self, disk: Path) -> None:
        """Do what GRUB does with what a disk says."""
        choice = self.says[disk]
        if choice.once:
            self.says[disk] = StartChoice(kept=choice.kept, tried=choice.once)
        self.running, self.trying = choice.once or choice.kept, bool(choice.once)

    def opened(self, report: Any) -> Opened:
        """Return the versions and disks that are there."""
        loader = Loader(self.says)
        disks = [DiskStart(disk=path, partition=path) for path in (A, B) if path not in self.away]
        now = State(
            running=self.running,
            trying=self.trying,
            disks=read_starts(disks, loader, Session()),
            failed=failures(self.top),
        )
        places = {path.name: path for path in self.top.iterdir() if not path.name.startswith(".")}
        roots = Roots(places=places, running=self.running, top=self.top)

        def say(event: Event) -> None:
            self.told.append(event.text)
            report(event)

        return Opened(now, roots, cast(Filesystem, None), loader, Session(report=say))  # none is removed


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Return a machine that was installed, and has upgraded itself once; the clock was wrong when it was installed."""
    made = Machine(tmp_path)
    made.lay_down("os", laid="2031-05-05")
    made.lay_down("os.1", laid="2026-01-01")

    @contextmanager
    def opened(root: Path, report: Any = silent, **more: object) -> Iterator[Opened]:
        yield made.opened(report)

    monkeypatch.setattr(trial, "_opened", opened)
    tried_once("os.1")
    made.start(A)
    assert (made.running, made.trying) == ("os.1", True)
    return made


def kept(machine: Machine) -> tuple[str, ...]:
    return tuple(choice.kept for choice in machine.says.values())


def test_what_was_tried_is_kept_and_the_way_back_is_by_number(machine: Machine) -> None:
    keep_tried("os.1")
    assert machine.says == {A: StartChoice(kept="os.1"), B: StartChoice(kept="os.1")}
    machine.start(B)
    going = former(None)
    assert (going.version, going.left) == ("os", ("os.1",)), "the clock says that os was laid down later"
    go_back(going)
    assert kept(machine) == ("os", "os")
    assert failures(machine.top)["os.1"].reason == "somebody went back from it to os"


def test_who_goes_back_while_a_version_is_on_trial_has_the_one_that_is_kept(machine: Machine) -> None:
    machine.lay_down("os.2")
    keep_tried("os.1")
    machine.start(A)
    tried_once("os.2")
    machine.start(A)
    going = former(None)
    assert going == GoingBack(
        version="os.1", image="image/of:os.1", laid="2026-01-01", kept=("os.1",), running="os.2", left=("os.2",)
    )
    go_back(going)
    with pytest.raises(OverruledError, match=r"somebody has chosen os\.1 meanwhile") as told:
        keep_tried("os.2")
    assert told.value.by_person
    assert machine.says == {A: StartChoice(kept="os.1"), B: StartChoice(kept="os.1")}


def test_who_keeps_the_version_on_trial_by_hand_has_it(machine: Machine) -> None:
    go_back(former("os.1"))
    assert keep_tried("os.1").kept == ("os.1",)
    assert failures(machine.top) == {}


def test_going_back_twice_goes_back_further_and_then_says_so(machine: Machine) -> None:
    machine.lay_down("os.2")
    keep_tried("os.1")
    machine.start(A)
    tried_once("os.2")
    machine.start(A)
    keep_tried("os.2")
    machine.start(A)
    for version in ("os.1", "os"):
        go_back(former(None))
        assert kept(machine) == (version, version)
        machine.start(A)
    with pytest.raises(NotFoundError, match="no version was laid down before os that was not given up"):
        former(None)
    go_back(former("os.2"))
    assert (kept(machine), list(failures(machine.top))) == (("os.2", "os.2"), ["os.1"]), "what is kept is not given up"


def test_a_snapshot_is_as_old_as_what_it_is_of_and_comes_after_it(machine: Machine) -> None:
    machine.lay_down("zz-before", version="os")
    machine.lay_down("aa-after", version="os.1")
    keep_tried("os.1")
    machine.start(A)
    assert former(None).version == "os"


def test_a_disk_that_comes_back_with_an_old_word_does_not_change_what_is_kept(machine: Machine) -> None:
    machine.away = {B}
    keep_tried("os.1")
    machine.away = set()
    machine.says[B] = StartChoice(kept="os")
    machine.start(B)
    assert machine.running == "os"
    settle()
    assert kept(machine) == ("os.1", "os.1"), "the next start is of what was kept last"
    assert "os was started by a disk that had been away, and os.1 is the version that is kept" in machine.told


def test_a_rollback_is_not_undone_by_a_disk_that_was_away(machine: Machine) -> None:
    keep_tried("os.1")
    machine.start(A)
    machine.away = {B}
    go_back(former(None))
    machine.away = set()
    machine.start(B)
    assert machine.running == "os.1"
    settle()
    assert kept(machine) == ("os", "os")


def test_a_disk_that_comes_back_with_an_old_try_keeps_nothing(machine: Machine) -> None:
    machine.lay_down("os.2")
    keep_tried("os.1")
    machine.start(A)
    tried_once("os.2")
    machine.away = {B}
    machine.start(A)
    give_up("os.2", "the shop does not answer")
    machine.away = set()
    machine.start(B)
    assert (machine.running, machine.trying) == ("os.2", True)
    with pytest.raises(OverruledError, match="was started by a disk that had been away") as told:
        keep_tried("os.2")
    assert not told.value.by_person
    assert machine.says == {A: StartChoice(kept="os.1"), B: StartChoice(kept="os.1")}


def test_the_only_disk_that_is_left_says_what_starts(machine: Machine) -> None:
    machine.away = {B}
    keep_tried("os.1")
    machine.away = {A}
    machine.says[B] = StartChoice(kept="os")
    machine.start(B)
    assert settle().kept == ("os",)


@pytest.mark.parametrize("written", [(), (A,), (A, B)])
def test_a_power_cut_in_a_rollback_leaves_one_of_both(machine: Machine, written: tuple[Path, ...]) -> None:
    """The word beside the versions is written first, then the disks, one after the other."""
    keep_tried("os.1")
    machine.start(A)
    go_back(former(None))
    assert read_ledger(machine.top) == Ledger(kept="os")
    for disk in {A, B} - {*written}:
        machine.says[disk] = StartChoice(kept="os.1")
    for _ in range(2):
        machine.start(A)
        settle()
    assert kept(machine) == (machine.running,) * 2
    assert machine.running == ("os" if written else "os.1")


def test_a_person_who_chooses_in_the_menu_changes_nothing(machine: Machine) -> None:
    keep_tried("os.1")
    machine.running, machine.trying = "os", False
    settle()
    assert kept(machine) == ("os.1", "os.1")
    assert not [text for text in machine.told if "away" in text]


def test_a_version_that_an_earlier_terra_has_asked_for_is_kept(machine: Machine) -> None:
    """It writes to the disks, and not beside the versions."""
    keep_tried("os.1")
    machine.start(A)
    go_back(former(None))
    machine.lay_down("os.2")
    machine.says = dict.fromkeys((A, B), StartChoice(kept="os", once="os.2"))
    machine.start(B)
    assert keep_tried("os.2").kept == ("os.2",)


def test_a_disk_that_comes_back_with_the_word_of_a_version_that_is_gone_is_set_right(machine: Machine) -> None:
    """Its boot loader starts any other one then."""
    machine.lay_down("os.2")
    keep_tried("os.1")
    machine.says[B] = StartChoice(kept="os.9")
    machine.running, machine.trying = "os.2", False
    settle()
    assert kept(machine) == ("os.1", "os.1")


def test_what_is_asked_for_right_after_a_start_is_not_forgotten_by_it(machine: Machine) -> None:
    keep_tried("os.1")
    machine.start(A)
    machine.lay_down("os.2")
    tried_once("os.2")
    settle()
    assert machine.says == {A: StartChoice(kept="os.1", once="os.2"), B: StartChoice(kept="os.1", once="os.2")}
    machine.start(A)
    machine.running, machine.trying = "os.1", False  # it panicked, and the next start was of the former one
    settle()
    assert machine.says == {A: StartChoice(kept="os.1"), B: StartChoice(kept="os.1")}
    assert list(failures(machine.top)) == ["os.2"]


def test_who_goes_back_before_the_try_keeps_what_runs(machine: Machine) -> None:
    keep_tried("os.1")
    machine.start(A)
    machine.lay_down("os.2")
    tried_once("os.2")
    going = former(None)
    assert (going.version, going.left) == ("os.1", ("os.2",))
    go_back(going)
    assert machine.says == {A: StartChoice(kept="os.1"), B: StartChoice(kept="os.1")}
    assert former(None).version == "os"
