"""Killed at every step of its work: after one start, the doctor finds nothing, and no healthy disk has changed."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from lab.site import START
from terra_core.config.session import Session
from terra_core.doctor import programs
from terra_core.errors import CommandError
from terra_core.plugins import Plugins
from terra_core.system.waiting import wait_until
from terra_iscsi.service import own_control
from tests.integration.controller.kills import Kills, Moment, killing_ground, planned, rounds_of
from tests.integration.controller.sites import Ground

_EACH = 2
_AT_ONCE = 12


@pytest.fixture(scope="module")
def kills(state: str | None) -> Iterator[Kills]:
    with killing_ground(state) as ground:
        made = Kills(ground, Random(20261126))  # noqa: S311  # no secret
        made.begin()
        yield made


@pytest.fixture
def ground(kills: Kills) -> Ground:
    kills.tidy()
    return kills.ground


def doctor(ground: Ground, *words: str, code: int) -> dict[str, Any]:
    done = ground.terra("doctor", "--root", ground.site.root, "-o", "json", *words, accept=(0, 1))
    said: dict[str, Any] = json.loads(done.text)
    assert done.code == code, said
    return said


def tgtd(ground: Ground) -> int:
    (found,) = [process.pid for process in ground.site.network.processes() if process.name == "tgtd"]
    return found


def test_killed_at_every_step_of_every_kind_of_work(kills: Kills) -> None:
    found = kills.moments()
    assert {"pull", "golden", "allocate", "format", "apply", "sync", "identity", "export", "publish"} <= set(found["provision"])
    assert {"plan", "make", "export", "publish", "grow"} <= set(found["apply"])
    assert found["delete"]
    assert found["pxe"]
    moments = planned(found, kills.random, _EACH)
    assert rounds_of(kills, moments, at_once=_AT_ONCE) == []
    assert sum(kills.killed.values()) == len(moments)


def test_killed_while_a_golden_volume_is_cloned_and_another_controller_is_refused(kills: Kills, ground: Ground) -> None:
    second = ("--controller", "10.0.10.1", *START[3:], "--root", str(ground.site.root))

    def refused() -> None:
        done = ground.terra(*second, accept=(1,))
        assert "a controller runs here already" in done.stderr.decode()

    steps = kills.moments()["provision"]
    making = kills.kill_at([Moment("provision", "golden", 1)], meanwhile=refused)
    cloning = kills.kill_at([Moment("provision", "allocate", steps["allocate"] - 3)])
    assert making == cloning == []


def test_the_doctor_names_what_is_off_and_the_controller_mends_what_is_its_own(ground: Ground) -> None:
    assert doctor(ground, code=0)["off"] == []
    (node,) = ground.nodes()
    (target,) = ground.targets()
    menu = next(ground.site.paths.tftp.glob("grub/*:*.cfg"))
    menu.unlink()
    (ground.site.paths.tftp / "nodes/healthy/mac").write_text("02:00:00:00:00:09\n")
    _admit_another(ground, node["disk_groups"][0]["target"]["id"])
    off = {one["part"]: one for one in doctor(ground, code=1)["off"]}
    assert str(menu) in str(off["boot"]) or "mac" in str(off["boot"])
    assert "tgtd lets in" in off["targets"]["problem"]
    assert off["targets"]["hostname"] == "healthy"
    said = doctor(ground, "--fix", code=0)
    assert said["off"] == []
    assert any(target in text for text in said["mended"]), said
    assert any("the boot files of healthy are written again" in text for text in said["mended"]), said
    assert menu.is_file()
    assert ground.targets() == {target: (node["initiator_iqn"],)}


def _admit_another(ground: Ground, number: int) -> None:
    own_control(Session(paths=ground.site.paths)).allow(number, "iqn.2024.node.terra.example:stranger")


def test_tgtd_killed_is_back_with_its_targets_and_bindings_and_nothing_is_off(kills: Kills, ground: Ground) -> None:
    before, killed = ground.targets(), tgtd(ground)
    os.kill(killed, signal.SIGKILL)

    def back() -> bool:
        try:
            return ground.targets() == before
        except CommandError:  # nobody answers yet
            return False

    wait_until(back, seconds=60, what="tgtd to be back with all that it had")
    assert tgtd(ground) != killed
    kills.require_well("after tgtd was killed")


@pytest.mark.parametrize("fault", ["missing", "truncated", "a link"])
def test_a_volume_that_is_not_what_was_made_is_set_aside_and_never_made_anew(kills: Kills, ground: Ground, fault: str) -> None:
    volume = ground.site.root / "iscsi/healthy/0.lun"
    away, size = volume.with_suffix(".away"), volume.stat().st_size
    if fault == "truncated":
        os.truncate(volume, size - 4096)
    else:
        volume.rename(away)
    if fault == "a link":
        volume.symlink_to(away)
    said = {"missing": "is missing", "truncated": "bytes", "a link": "a symbolic link stands in place"}[fault]
    off = doctor(ground, "--fix", code=1)["off"]
    assert any(one["hostname"] == "healthy" and said in one["problem"] for one in off), off
    assert {one["hostname"] for one in off} == {"healthy"}
    (node,) = ground.nodes()
    assert node["problem"]
    assert volume.exists() == (fault != "missing")
    if fault == "truncated":
        shutil.copyfile(ground.site.root.parent / "model", volume)
    else:
        volume.unlink(missing_ok=True)
        away.rename(volume)
    fixed = doctor(ground, "--fix", code=0)
    assert "healthy can boot again" in fixed["mended"]
    kills.require_well(f"after its volume was {fault}")


def test_it_works_without_a_controller_and_says_what_was_not_finished(kills: Kills, ground: Ground) -> None:
    stopped = ground.site.controller
    assert stopped is not None
    ground.site.stop_controller()
    try:
        said = doctor(ground, code=0)
        assert said["controller"] is None
        assert "the controller does not run" in " ".join(said["notes"])
        left = Path(ground.site.paths.work) / "cm-900-abc"
        left.mkdir(parents=True)
        os.kill(tgtd(ground), signal.SIGKILL)
        off = doctor(ground, code=1)["off"]
        assert {one["part"] for one in off} == {"work", "targets"}, off
        refused = ground.terra("doctor", "--fix", "--root", ground.site.root, accept=(1,))
        assert "the controller does not run" in refused.stderr.decode()
    finally:
        ground.site.start_controller()
    kills.require_well("after the start")


def test_missing_packages_are_named_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "clean_environment", lambda: {"PATH": "/nowhere"})
    (found,) = programs.examine_programs(Plugins.discover(), {"iscsi", "tftp", "btrfs", "file"})
    assert found.hint == "install all of it with: apt-get install btrfs-progs dnsmasq-base mount tgt"
