"""A fleet gets another image, some machines first: all well, one that is not, and what comes in between."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lab.site import terra_command
from terra_core.system.process import Daemon, run
from terra_core.system.waiting import wait_until
from tests.integration.controller.sites import SYSTEM, Ground
from tests.integration.controller.test_reports import Player, boot
from tests.integration.controller.test_upgrade import DATA, NEXT, leads, logged_in, node, phase, target, wait_for, written
from tests.unit.oci.making import file

NAMES = [f"cm-{at:02}" for at in range(1, 7)]
MORE = (
    '[[groups]]\nlabel = "more"\n[[groups.disk]]\ndevice = "/dev/sdc"\nsize = 128\n'
    '[[groups.subvolumes]]\nname = "db"\npath = "/db"\n'
)


@pytest.fixture(scope="module")
def following(ground: Ground) -> str:
    """Return the reference of the next image."""
    return ground.push("next", NEXT)


@pytest.fixture(scope="module")
def third(ground: Ground) -> str:
    """Return the reference of one more image."""
    return ground.push("third", (*SYSTEM, file(b"usr/version", b"3\n")))


@pytest.fixture
def fleet(ground: Ground, small: str) -> list[dict[str, Any]]:
    """Return machines that are off."""
    ground.clear()
    return [ground.provision(small, name, mac(at)) for at, name in enumerate(NAMES, 1)]


def mac(number: int) -> str:
    return f"52:54:00:00:00:{number:02x}"


class Rollout:
    """``terra upgrade`` of a fleet, which goes on while its machines are started."""

    def __init__(self, ground: Ground, image: str, *words: str, names: Sequence[str] = NAMES) -> None:
        self.ground = ground
        self.daemon: Daemon = ground.start("upgrade", *names, "--image", image, *words)

    def __enter__(self) -> Rollout:
        return self

    def __exit__(self, *_: object) -> None:
        self.daemon.stop(10)

    @property
    def said(self) -> str:
        """What it has printed."""
        return self.daemon.log.read_text()

    def wait_for(self, text: str) -> None:
        """Wait until it has printed a text."""
        wait_until(lambda: text in self.said, seconds=240, what=f"{text!r} in {self.said}")

    def start(self, hostname: str, number: int, *, state: str = "running", failed: Sequence[str] = ()) -> None:
        """Start a machine on trial, which logs in to its disks and says how it is."""
        ground = self.ground
        wait_for(ground, "trial", hostname)
        found = node(ground, hostname)
        wait_until(lambda: leads(ground, found), seconds=60, what="the boot files to lead to the next version")
        place = Player(ground, hostname).place()
        before = logins(ground, hostname)
        with logged_in(ground, found, target(found)):
            wait_until(lambda: logins(ground, hostname) > before, seconds=120, what="the login to be seen")
            wait_until(lambda: not leads(ground, found), seconds=120, what="the boot files to lead back")
            Player(ground, hostname).post(
                place["token"], boot_id=boot(number), image=place["image"], state=state, failed=list(failed)
            )
            wanted = ("kept",) if state == "running" else ("returning", "left")
            wait_until(lambda: phase(ground, hostname) in wanted, seconds=120, what=f"{hostname} to be {' or '.join(wanted)}")


def logins(ground: Ground, hostname: str) -> int:
    return ground.terra("logs", hostname).text.count("is connected to its disks")


def phases(ground: Ground) -> dict[str, str]:
    return {one["hostname"]: one.get("upgrade", {}).get("phase", "") for one in ground.nodes()}


def nothing_is_off(ground: Ground) -> None:
    assert json.loads(ground.terra("doctor", "-o", "json").text)["off"] == []


def test_when_all_are_well_the_canaries_come_first_and_then_the_shares(
    ground: Ground, following: str, fleet: list[dict[str, Any]]
) -> None:
    with Rollout(ground, following, "--canary", "2", "--then", "34%", "--timeout", "10m") as rollout:
        for step, names in enumerate((NAMES[:2], NAMES[2:4], NAMES[4:])):
            for name in names:
                wait_for(ground, "trial", name)
            later = NAMES[2 * step + 2 :]
            assert {phases(ground)[name] for name in later} <= {""}, "who comes later is not touched"
            said = ground.terra("status", names[0]).text
            assert f"upgrade     to {following}: on trial until it reports that it is well" in said
            wide = ground.terra("list", "-o", "wide").text
            assert wide.count("trial") == len(names)
            for at, name in enumerate(names, 1):
                rollout.start(name, 10 * step + at)
        assert rollout.daemon.wait(120) == 0
    assert [f"{name} is upgraded, and is well" in rollout.said for name in NAMES] == [True] * len(NAMES)
    assert {one["image"] for one in ground.nodes()} == {following}
    again = ground.terra("upgrade", *NAMES, "--image", following, "--canary", "2", "--timeout", "1m")
    assert again.stderr.decode().count("already") == len(NAMES), "a second run changes nothing"
    assert "; " in ground.terra("status", NAMES[0]).text
    ground.terra("rollback", NAMES[0])
    wait_until(lambda: phase(ground, NAMES[0]) in ("returning", "left"), seconds=60, what="the way back")
    assert f"goes back from {following} at its next start: it was asked for" in ground.terra("logs", NAMES[0]).text
    nothing_is_off(ground)


def test_when_a_canary_is_not_well_the_rest_is_not_touched(
    ground: Ground, small: str, following: str, fleet: list[dict[str, Any]]
) -> None:
    with Rollout(ground, following, "--canary", "2", "--then", "20%", "-o", "json") as rollout:
        rollout.start(NAMES[0], 1)
        rollout.start(NAMES[1], 2, state="degraded", failed=["app.service"])
        assert rollout.daemon.wait(120) == 1
    assert f"Error: {NAMES[1]} goes back to {small}: it reported that it is degraded: app.service failed" in rollout.said
    assert f"Error: 4 machines are not upgraded, as one before them is not well: {', '.join(NAMES[2:])}" in rollout.said
    wait_for(ground, "left", NAMES[1])
    found = phases(ground)
    assert [found[name] for name in NAMES] == ["kept", "left", "", "", "", ""]
    assert {node(ground, name)["image"] for name in NAMES[1:]} == {small}
    assert "degraded: app.service failed" in ground.terra("status", NAMES[1]).text
    nothing_is_off(ground)


def test_a_machine_that_stays_off_is_waited_for_and_then_said(
    ground: Ground, following: str, fleet: list[dict[str, Any]]
) -> None:
    done = ground.terra("upgrade", *NAMES, "--image", following, "--canary", "1", "--timeout", "5s", accept=(1,))
    said = done.stderr.decode()
    assert f"Error: {NAMES[0]}: it is not upgraded yet, after 5 seconds: to {following}: on trial" in said
    assert list(phases(ground).values()).count("trial") == 1
    with Rollout(ground, following, "--canary", "1", "--timeout", "5m", names=NAMES[:2]) as rollout:  # the next night
        rollout.start(NAMES[0], 1)
        rollout.start(NAMES[1], 2)
        assert rollout.daemon.wait(120) == 0
    nothing_is_off(ground)


def test_ctrl_c_ends_the_waiting_and_no_upgrade(ground: Ground, following: str, fleet: list[dict[str, Any]]) -> None:
    with Rollout(ground, following, "--canary", "2") as rollout:
        for name in NAMES[:2]:
            wait_for(ground, "trial", name)
        rollout.wait_for("on trial until it reports")
        rollout.daemon.signal(signal.SIGINT)
        assert rollout.daemon.wait(30) == 130
    assert f"terra rollback {NAMES[0]} {NAMES[1]} ends it" in " ".join(rollout.said.split())
    assert "Traceback" not in rollout.said
    ground.terra("rollback", *NAMES[:2])
    for name in NAMES[:2]:
        wait_for(ground, "left", name)
    nothing_is_off(ground)


def test_a_controller_that_is_killed_in_the_middle_is_waited_for(
    ground: Ground, following: str, fleet: list[dict[str, Any]]
) -> None:
    with Rollout(ground, following, "--canary", "1", names=NAMES[:2]) as rollout:
        wait_for(ground, "trial", NAMES[0])
        rollout.wait_for("on trial until it reports")
        kill(ground)
        rollout.wait_for("warning:")
        ground.site.start_controller()
        rollout.start(NAMES[0], 1)
        rollout.start(NAMES[1], 2)
        assert rollout.daemon.wait(120) == 0
    nothing_is_off(ground)


def kill(ground: Ground) -> None:
    assert ground.site.controller is not None
    os.kill(ground.site.controller.pid, signal.SIGKILL)
    wait_until(lambda: not (ground.site.controller and ground.site.controller.alive), seconds=60, what="its end")


def test_two_at_once_are_one_upgrade_and_to_two_images_the_first_one(
    ground: Ground, following: str, third: str, fleet: list[dict[str, Any]]
) -> None:
    names = NAMES[:3]
    with ExitStack() as stack:
        both = [stack.enter_context(Rollout(ground, following, names=names)) for _ in range(2)]
        assert [one.daemon.wait(120) for one in both] == [0, 0]
    assert {phases(ground)[name] for name in names} == {"trial"}
    plan = ground.terra("upgrade", names[0], "--image", following, "--plan").text
    assert "is on its way to" in plan
    refused = ground.terra("upgrade", *names, "--image", third, accept=(1,)).stderr.decode()
    assert refused.count("is being upgraded to") == len(names)
    assert {node(ground, name)["upgrade"]["image"] for name in names} == {following}
    nothing_is_off(ground)


def test_machines_that_are_deleted_meanwhile(ground: Ground, following: str, fleet: list[dict[str, Any]]) -> None:
    with Rollout(ground, following, "--wait", names=NAMES[:2]) as rollout:
        wait_for(ground, "trial", NAMES[0])
        rollout.wait_for("on trial until it reports")
        ground.terra("delete", NAMES[0])
        rollout.wait_for(f"{NAMES[1]}: to")
        rollout.start(NAMES[1], 1)
        assert rollout.daemon.wait(120) == 1
    assert f"Error: {NAMES[0]}: it was deleted meanwhile" in rollout.said
    for delay in (0.0, 0.3, 0.8):  # while the next version is made
        with Rollout(ground, following, names=[NAMES[2]]) as rollout:
            wait_until(lambda: phase(ground, NAMES[2]) != "", seconds=60, what="the beginning", interval=0.01)
            time.sleep(delay)
            ground.terra("delete", "--force", NAMES[2])
            assert rollout.daemon.wait(120) in (0, 1)
        assert "Traceback" not in rollout.said
        assert NAMES[2] not in phases(ground)
        ground.provision(str(fleet[0]["image"]), NAMES[2], mac(3))
    nothing_is_off(ground)
    ground.clear()
    assert ground.left() == []


def test_what_is_in_subvolumes_and_further_groups_is_there_exactly(ground: Ground, small: str, following: str) -> None:
    ground.clear()
    shown = ground.provision(small, more=DATA + MORE)
    system, srv, db = (group["disks"][0]["device"] for group in shown["disk_groups"])
    for lun, name in ((system, "home"), (system, "log"), (system, "containerd"), (srv, "srv"), (db, "db")):
        with written(lun, name) as place:
            fill(place)
    former = tree_of(ground, system, ("home", "log", "containerd"))
    further = [Path(lun).read_bytes() for lun in (srv, db)]
    ground.terra("upgrade", "cm-01", "--image", following)
    found = node(ground)
    assert found["disk_groups"][1:] == shown["disk_groups"][1:]
    assert [Path(lun).read_bytes() for lun in (srv, db)] == further, "nobody has written to them"
    assert tree_of(ground, found["disk_groups"][0]["disks"][0]["device"], ("home", "log", "containerd")) == former
    with ground.opened(found["disk_groups"][0]["disks"][0]["device"]) as root:
        fstab = (root / "etc/fstab").read_text()
    assert all(f" {path} " in fstab for path in ("/srv", "/db", "/home", "/var/log"))


def fill(place: Path) -> None:
    """Write files of all kinds."""
    (place / "d").mkdir(mode=0o2770)
    (place / "d/file").write_bytes(os.urandom(100_000))
    (place / "d/twin").hardlink_to(place / "d/file")
    (place / "link").symlink_to("/nowhere")
    (place / "bad\udcff").write_text("x")
    os.mkfifo(place / "pipe")
    os.setxattr(place / "d/file", "user.mine", b"y")
    os.chown(place / "d/file", 1234, 5678)
    with (place / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 20)
        sparse.seek(1 << 19)
        sparse.write(b"middle")
    os.utime(place / "d", ns=(10**18, 10**18 + 1))


def tree_of(ground: Ground, lun: str, subvolumes: Sequence[str]) -> dict[str, Any]:
    """Return all that is known of the files in subvolumes."""
    found: dict[str, Any] = {}
    for name in subvolumes:
        with ground.opened(lun, name) as top:
            paths = [top, *top.rglob("*")]
            first: dict[int, str] = {}
            for path in sorted(paths):
                status = path.lstat()
                own = f"{name}/{path.relative_to(top)}"
                content: object = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None
                names = os.listxattr(path, follow_symlinks=False)
                attributes = {one: os.getxattr(path, one, follow_symlinks=False) for one in names}
                twin = first.setdefault(status.st_ino, own)
                owner = (status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, status.st_nlink)
                found[own] = (owner, content, attributes, twin)
    return found


@pytest.fixture
def backup(ground: Ground) -> Iterator[Path]:
    """Return the path of a backup; in the end, the controller runs whatever happened."""
    yield ground.path("backup.tar")
    if ground.site.controller is None or not ground.site.controller.alive:
        ground.site.start_controller()


def put_back(ground: Ground, backup: Path) -> None:
    """Let a backup take the place of all that the controller knows; its services go on."""
    ground.site.stop_controller()
    paths = ground.site.paths
    ground.lose_database()
    for place in (paths.etc, paths.state, paths.tftp):
        shutil.rmtree(place)
    run([terra_command(), "restore", "--root", ground.site.root, backup])
    ground.site.start_controller()


@pytest.mark.long
def test_a_backup_of_a_trial_does_not_take_the_disks_of_a_machine_that_went_on(
    ground: Ground, small: str, following: str, fleet: list[dict[str, Any]], backup: Path
) -> None:
    name = NAMES[0]
    ground.terra("upgrade", name, "--image", following)
    found = node(ground, name)
    ground.terra("backup", "--root", ground.site.root, backup)
    place = Player(ground, name).place()
    with logged_in(ground, found, target(found)):
        wait_until(lambda: not leads(ground, found), seconds=120, what="the boot files to lead back")
        Player(ground, name).post(place["token"], boot_id=boot(1), image=place["image"], state="running", failed=[])
        wait_for(ground, "kept", name)
        put_back(ground, backup)
        wait_for(ground, "kept", name)
        there = node(ground, name)
        assert (there["image"], target(there), there["upgrade"]["other"]) == (following, target(found), small)
        assert "a backup was restored" in there["upgrade"]["reason"]
        wait_until(partial(leads, ground, there), seconds=60, what="its boot files")
    nothing_is_off(ground)
    ground.terra("rollback", name)
    wait_until(lambda: phase(ground, name) in ("returning", "left"), seconds=60, what="the way back")


def test_a_backup_of_a_trial_starts_the_former_version_of_a_machine_that_is_off(
    ground: Ground, small: str, following: str, fleet: list[dict[str, Any]], backup: Path
) -> None:
    name, former = NAMES[0], fleet[0]
    ground.terra("upgrade", name, "--image", following)
    found = node(ground, name)
    ground.terra("backup", "--root", ground.site.root, backup)
    put_back(ground, backup)
    wait_for(ground, "restored", name)
    assert "which version it has is seen when it runs" in ground.terra("status", name).text
    refused = ground.terra("upgrade", name, "--image", following, accept=(1,)).stderr.decode()
    assert "a backup was restored" in refused
    wait_until(partial(leads, ground, former), seconds=60, what="the boot files of the former version")
    with logged_in(ground, former, target(former)):
        wait_for(ground, "kept", name)
    there = node(ground, name)
    assert (there["image"], there["upgrade"]["other"]) == (small, following)
    assert Path(found["disk_groups"][0]["disks"][0]["device"]).exists(), "what may be somebody's data stays"
    nothing_is_off(ground)


@pytest.mark.long
def test_a_backup_from_before_the_trial_ends_the_upgrade(
    ground: Ground, small: str, following: str, fleet: list[dict[str, Any]], backup: Path
) -> None:
    name, former = NAMES[0], fleet[0]
    with logged_in(ground, former, target(former)):
        wait_until(lambda: node(ground, name)["state"] == "booting", seconds=120, what="the log-in to be seen")
        ground.terra("upgrade", name, "--image", following)
        assert phase(ground, name) == "waiting"
        ground.terra("backup", "--root", ground.site.root, backup)
        put_back(ground, backup)
        wait_for(ground, "left", name)
        assert node(ground, name)["image"] == small
        assert "made before its trial" in node(ground, name)["upgrade"]["reason"]
        nothing_is_off(ground)
        ground.terra("upgrade", name, "--image", following)
        assert phase(ground, name) == "waiting"
