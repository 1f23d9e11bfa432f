"""What is compared with the database every minute, after a fault, and when somebody asks."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

from terra_core.config.values import Hostname, Mac
from terra_core.controller.keeping import Keeper
from terra_core.errors import TerraError
from terra_core.system.progress import Event
from tests.unit.controller.fakes import Site, World

NAME = "iqn.2024.san.example.cm-01:fs"


@pytest.fixture
def keeper(site: Site) -> Keeper:
    """Return a keeper that has brought everything to what the database says."""
    keeper = Keeper(site.machines)
    keeper.begin()
    keeper.look()
    return keeper


@pytest.fixture
def in_a_minute(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what lets a minute pass."""
    passed = [0.0]
    clock = time.monotonic

    def wait() -> None:
        passed[0] += 61.0

    monkeypatch.setattr(time, "monotonic", lambda: clock() + passed[0])
    return wait


def test_what_somebody_took_away_is_back_within_a_minute(
    site: Site, world: World, keeper: Keeper, in_a_minute: Callable[[], None]
) -> None:
    site.provision()
    published = dict(world.published)
    world.exported.clear()
    world.published[Hostname("cm-01")] = (Mac("02:00:00:00:00:09"), "a kernel")
    keeper.look()
    assert world.exported == {}, "most looks ask the services alone"
    in_a_minute()
    keeper.look()
    assert list(world.exported) == [NAME]
    assert world.published == published


def test_a_look_that_takes_long_comes_less_often(
    keeper: Keeper, site: Site, world: World, in_a_minute: Callable[[], None]
) -> None:
    site.provision()
    world.before = lambda hook: in_a_minute() if hook == "restore_target" else None
    in_a_minute()
    keeper.look()
    in_a_minute()
    world.calls.clear()
    keeper.look()
    assert "restore_target" not in world.calls


def test_a_deletion_that_failed_is_tried_again_soon(site: Site, world: World, keeper: Keeper) -> None:
    site.provision()
    world.fail.add("release_target")
    with pytest.raises(TerraError):
        site.delete()
    keeper.look()
    assert site.store.find("cm-01").problem
    world.fail.clear()
    mended = keeper.mend(lambda event: None)
    assert mended["mended"] == ["cm-01 is deleted, which had failed before"]
    assert site.left() == []


def test_a_fault_is_looked_after_at_the_next_look(site: Site, world: World, keeper: Keeper) -> None:
    site.provision()
    world.fail.add("release_target")
    with pytest.raises(TerraError):
        site.delete()
    world.fail.clear()
    keeper.look()
    assert site.left() == []


def test_who_asks_is_told_what_was_mended_and_what_is_left(site: Site, world: World, keeper: Keeper) -> None:
    site.provision()
    site.provision(hostname="cm-02", mac="02:00:00:00:00:02")
    world.storage_runs = False
    world.published[Hostname("cm-01")] = (Mac("02:00:00:00:00:09"), "a kernel")
    volume = site.paths.root / "iscsi/cm-02/0.lun"
    away = volume.rename(volume.with_suffix(".away"))
    heard: list[Event] = []
    said = keeper.mend(heard.append)
    assert said["mended"] == ["the storage service is started again", "the boot files of cm-01 are written again"]
    assert said["left"] == [f"cm-02: {volume}: is missing"]
    assert not volume.exists(), "it is never made anew"
    assert {event.text for event in heard} >= set(said["mended"])
    away.rename(volume)
    assert "cm-02 can boot again" in keeper.mend(heard.append)["mended"]
    assert keeper.mend(heard.append) == {"mended": [], "left": []}


def test_a_machine_that_is_quarantined_is_logged_once(
    site: Site, keeper: Keeper, capsys: pytest.CaptureFixture[str]
) -> None:
    site.provision()
    (site.paths.root / "iscsi/cm-01/0.lun").unlink()
    for _ in range(3):
        keeper.mend(lambda event: None)
    said = capsys.readouterr()
    assert (said.out + said.err).count("quarantined") == 1


def test_what_abandoned_work_left_is_removed(site: Site, keeper: Keeper, in_a_minute: Callable[[], None]) -> None:
    left = site.paths.work / "cm-09-abandoned"
    left.mkdir(parents=True)
    with site.services.workspace("cm-08") as held:
        old = time.time() - 3600
        os.utime(left, (old, old))
        keeper.mend(lambda event: None)
        assert held.is_dir()
    assert left.is_dir(), "one that was made just now may be about to be held"


def test_a_problem_is_not_noted_of_a_machine_that_is_on_its_way(site: Site) -> None:
    site.provision()
    record = site.store.get("cm-01")
    site.store.begin_delete("cm-01")
    site.store.set_problem(record, "it cannot be exported", state=record.state.value)
    assert site.store.find("cm-01").problem == ""
