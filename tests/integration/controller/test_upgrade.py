"""Machines of a controller get another image, with real clones: what is carried over, and what becomes of a trial."""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lab.network import CONTROLLER, ISCSI
from terra_core.system.mounts import loop_device, mounted
from terra_core.system.process import Daemon
from terra_core.system.waiting import wait_until
from tests.integration.controller.sites import MAC, SYSTEM, Ground
from tests.integration.controller.test_reports import Player, boot
from tests.unit.oci.making import file, folder
from tftp_lab.clients import TftpError, fetch

NEXT = (
    *SYSTEM,
    file(b"usr/version", b"2\n"),
    file(b"etc/hostname", b"next\n"),
    folder(b"home/image", 0o755),
    file(b"home/image/new", b"of the image\n"),
)
DATA = (
    '\n[[groups]]\nlabel = "data"\n[[groups.disk]]\ndevice = "/dev/sdb"\nsize = 128\n'
    '[[groups.subvolumes]]\nname = "srv"\npath = "/srv"\n'
)
KEEP = '[upgrade]\nkeep = ["/etc/app"]\n'
ID = "0123456789abcdef0123456789abcdef\n"


@pytest.fixture(scope="module")
def following(ground: Ground) -> str:
    """Return the reference of the next image."""
    return ground.push("next", NEXT)


@pytest.fixture
def machine(ground: Ground, small: str) -> dict[str, Any]:
    """Return a machine that has run for a while."""
    ground.clear()
    shown = ground.provision(small, more=DATA + KEEP)
    used(shown)
    return shown


@contextmanager
def written(lun: str, subvolume: str) -> Iterator[Path]:
    """Mount a subvolume of a LUN file, as its machine does."""
    place = Path(lun).parent / "mnt"
    place.mkdir()
    with (
        loop_device(Path(lun)) as device,
        mounted(device, place, filesystem="btrfs", options=(f"subvol=/{subvolume}",)),
    ):
        yield place
    place.rmdir()


def used(shown: dict[str, Any]) -> None:
    """Write what a machine writes."""
    lun = shown["disk_groups"][0]["disks"][0]["device"]
    with written(lun, "os") as root:
        (root / "etc/machine-id").chmod(0o644)
        (root / "etc/machine-id").write_text(ID)
        (root / "etc/ssh").mkdir()
        (root / "etc/ssh/ssh_host_ed25519_key").write_text("a key\n")
        (root / "etc/ssh/ssh_host_ed25519_key").chmod(0o600)
        (root / "etc/app").mkdir()
        (root / "etc/app/settings").write_text("mine\n")
        (root / "etc/lost").write_text("lost\n")
    with written(lun, "home") as home:
        (home / "data").write_text("precious\n")
        (home / "twin").hardlink_to(home / "data")
    with written(shown["disk_groups"][1]["disks"][0]["device"], "srv") as srv:
        (srv / "large").write_text("in its own group\n")


def node(ground: Ground, hostname: str = "cm-01") -> dict[str, Any]:
    return next(one for one in ground.nodes() if one["hostname"] == hostname)


def phase(ground: Ground, hostname: str = "cm-01") -> str:
    return str(node(ground, hostname).get("upgrade", {}).get("phase", ""))


def wait_for(ground: Ground, wanted: str, hostname: str = "cm-01", seconds: float = 400) -> None:
    wait_until(lambda: phase(ground, hostname) == wanted, seconds=seconds, what=f"{hostname} to be {wanted}")


def line(ground: Ground, mac: str = MAC) -> str:
    with ground.site.network.inside():
        return fetch(CONTROLLER, f"grub/{mac}.cfg").decode()


def target(shown: dict[str, Any]) -> str:
    return str(shown["disk_groups"][0]["target"]["iqn"])


def leads(ground: Ground, shown: dict[str, Any]) -> bool:
    """Return whether the boot files lead to the system of a machine as it was shown; while they change there is no menu."""
    with suppress(TftpError):
        return f" ISCSI_TARGET_NAME={target(shown)} " in line(ground, str(shown["mac"]))
    return False


@contextmanager
def logged_in(ground: Ground, shown: dict[str, Any], iqn: str) -> Iterator[None]:
    """Stay logged in to a target, as its machine does while it runs."""
    initiator = shown["initiator_iqn"]
    command = ground.site.network.command(["iscsi-perf", "-i", initiator, "-t", "600", f"iscsi://{ISCSI}/{iqn}/1"])
    client = Daemon(command, log=ground.path("perf.log"), env=ground.account(initiator))
    try:
        wait_until(lambda: b"iops" in client.log.read_bytes(), seconds=120, what="the machine to read")
        yield
    finally:
        client.stop(1)


def test_a_machine_that_is_off_boots_the_next_image_with_its_data_and_keeps_it(
    ground: Ground, small: str, following: str, machine: dict[str, Any]
) -> None:  # fmt: skip
    before = line(ground)
    (plan,) = json.loads(ground.terra("upgrade", "cm-01", "--image", following, "--plan", "-o", "json").text).values()
    assert plan["action"] == "upgrade"
    assert "/etc/app, which [upgrade] keep names" in plan["kept"]
    assert line(ground) == before
    ground.terra("upgrade", "cm-01", "--image", following)
    found = node(ground)
    assert (found["upgrade"]["phase"], found["image"], found["upgrade"]["other"]) == ("trial", following, small)
    assert target(found) != target(machine)
    assert leads(ground, found)
    lun = found["disk_groups"][0]["disks"][0]["device"]
    with ground.opened(lun) as root:
        assert (root / "usr/version").read_text() == "2\n"
        assert (root / "etc/machine-id").read_text() == ID
        assert (root / "etc/hostname").read_text() == "cm-01\n"
        assert (root / "etc/ssh/ssh_host_ed25519_key").read_text() == "a key\n"
        assert (root / "etc/ssh/ssh_host_ed25519_key").stat().st_mode & 0o777 == 0o600
        assert (root / "etc/app/settings").read_text() == "mine\n"
        assert not (root / "etc/lost").exists()
        assert "/srv" in (root / "etc/fstab").read_text()
    with ground.opened(lun, "home") as home:
        assert sorted(path.name for path in home.iterdir()) == ["data", "terra", "twin"]
        assert (home / "data").samefile(home / "twin")
        assert (home / "terra").stat().st_uid == 1000
    assert found["disk_groups"][1] == machine["disk_groups"][1]
    player = Player(ground)
    place = player.place()
    with logged_in(ground, found, target(found)):
        wait_until(lambda: leads(ground, machine), seconds=120, what="the boot files to lead to the former version")
        assert phase(ground) == "trial"
        player.post(place["token"], boot_id=boot(1), image=place["image"], state="running", failed=[])
        wait_for(ground, "kept")
        wait_until(lambda: leads(ground, found), seconds=60, what="the boot files to lead to the new version for good")
    wait_until(lambda: target(machine) not in ground.targets(), seconds=60, what="the former version to be taken away")
    assert "is upgraded to" in ground.terra("logs", "cm-01").text
    assert json.loads(ground.terra("doctor", "-o", "json").text)["off"] == []


def test_a_machine_that_runs_is_upgraded_when_it_is_off_and_goes_back_when_it_is_not_well(
    ground: Ground, small: str, following: str, machine: dict[str, Any]
) -> None:  # fmt: skip
    with logged_in(ground, machine, target(machine)):
        wait_until(lambda: node(ground)["state"] == "booting", seconds=120, what="the log-in to be seen")
        ground.terra("upgrade", "cm-01", "--image", following)
        waiting = node(ground)
        assert (waiting["upgrade"]["phase"], waiting["image"]) == ("waiting", small)
        assert target(waiting) == target(machine)
        assert leads(ground, machine)
        assert len(ground.targets()) == 2, "the next version is reached by nobody"
        refused = ground.terra("upgrade", "cm-01", "--image", small, accept=(1,)).stderr.decode()
        assert "terra rollback cm-01" in re.sub(r"\s+", " ", refused)
    wait_for(ground, "trial")
    found = node(ground)
    wait_until(lambda: leads(ground, found), seconds=60, what="the boot files to lead to the next version")
    place = Player(ground).place()
    with logged_in(ground, found, target(found)):
        wait_until(lambda: leads(ground, machine), seconds=120, what="the boot files to lead to the former version")
        Player(ground).post(place["token"], boot_id=boot(1), image=place["image"], state="degraded", failed=["app.service"])
        wait_for(ground, "returning")
        going = node(ground)
        assert target(going) == target(machine)
        assert target(found) in ground.targets(), "it runs on it until it is off"
    wait_for(ground, "left")
    assert "app.service failed" in node(ground)["upgrade"]["reason"]
    assert target(found) not in ground.targets()
    assert not Path(found["disk_groups"][0]["disks"][0]["device"]).exists()
    with ground.opened(machine["disk_groups"][0]["disks"][0]["device"]) as root:
        assert not (root / "usr/version").exists()
        assert (root / "etc/lost").read_text() == "lost\n"
    assert json.loads(ground.terra("doctor", "-o", "json").text)["off"] == []


def test_what_decides_a_trial_is_not_replaced_by_what_is_kept(ground: Ground, small: str, following: str) -> None:
    ground.clear()
    table = '[upgrade]\nkeep = ["/etc/systemd/system"]\ncheck = ["/bin/true"]\n'
    shown = ground.provision(small, more=table)
    with written(shown["disk_groups"][0]["disks"][0]["device"], "os") as root:
        (root / "etc/systemd/system").mkdir(parents=True)
        (root / "etc/systemd/system/own.service").write_text("[Service]\nExecStart=/bin/true\n")
    with logged_in(ground, shown, target(shown)):
        wait_until(lambda: node(ground)["state"] == "booting", seconds=120, what="the log-in to be seen")
        ground.terra("upgrade", "cm-01", "--image", following)
        assert phase(ground) == "waiting"
    wait_for(ground, "trial")
    with ground.opened(node(ground)["disk_groups"][0]["disks"][0]["device"]) as root:
        found = {path.name for path in (root / "etc/systemd/system").iterdir()}
        assert {"own.service", "terra-return.service", "terra-check.service"} <= found
        wanted = {path.name for path in (root / "etc/systemd/system/multi-user.target.wants").iterdir()}
        assert {"terra-return.service", "terra-check.service"} <= wanted
    ground.clear()
    assert ground.left() == []


def test_the_way_back_from_each_phase(ground: Ground, small: str, following: str, machine: dict[str, Any]) -> None:
    ground.terra("upgrade", "cm-01", "--image", following)
    found = node(ground)
    assert "boots" in ground.terra("rollback", "cm-01").stderr.decode()
    wait_for(ground, "left")
    assert (node(ground)["image"], target(node(ground))) == (small, target(machine))
    assert leads(ground, machine)
    refused = ground.terra("rollback", "cm-01", accept=(1,)).stderr.decode()
    assert re.sub(r"\s+", " ", refused).startswith("Error: cm-01 has no version to go back to "), "with its name once"
    ground.terra("upgrade", "cm-01", "--image", following)
    second = node(ground)
    assert target(second) not in (target(found), target(machine)), "no name of a target is given twice"
    place = Player(ground).place()
    Player(ground).post(place["token"], boot_id=boot(2), image=place["image"], state="running", failed=[])
    wait_until(lambda: node(ground)["state"] == "booted", seconds=60, what="the report to be seen")
    with logged_in(ground, second, target(second)):
        wait_until(lambda: "has begun its trial" in ground.terra("logs", "cm-01").text, seconds=120, what="the log-in")
        wait_for(ground, "kept")
    told = ground.terra("logs", "cm-01").text
    assert told.rindex("has begun its trial") < told.rindex("it has booted, and is well"), "whoever has its token says nothing"
    ground.terra("rollback", "cm-01")
    wait_until(lambda: phase(ground) in ("returning", "left"), seconds=60, what="the way back")
    wait_until(lambda: leads(ground, machine), seconds=60, what="the former boot files")
    with logged_in(ground, machine, target(machine)):
        wait_for(ground, "left")
    ground.terra("delete", "--force", "cm-01")
    assert ground.left() == []


def test_what_is_killed_is_whole_after_the_next_start(
    ground: Ground, small: str, following: str, machine: dict[str, Any]
) -> None:  # fmt: skip
    ground.terra("upgrade", "cm-01", "--image", following)
    ground.terra("rollback", "cm-01")
    wait_for(ground, "left")
    for delay in (0.0, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0, 1.3, 1.7):
        asked = ground.start("upgrade", "cm-01", "--image", following)
        wait_until(lambda: phase(ground) in ("preparing", "waiting", "trial"), seconds=120, what="the beginning", interval=0.01)
        time.sleep(delay)
        assert ground.site.controller is not None
        os.kill(ground.site.controller.pid, signal.SIGKILL)
        wait_until(lambda: not (ground.site.controller and ground.site.controller.alive), seconds=60, what="its end")
        asked.stop(1)
        ground.site.start_controller()
        wait_until(lambda: phase(ground) in ("left", "trial"), seconds=180, what="the old or the new version")
        shown = node(ground)
        assert shown["image"] == (following if phase(ground) == "trial" else small)
        wait_until(partial(leads, ground, shown), seconds=60, what="its boot files")
        assert ground.may_log_in(shown["initiator_iqn"], target(shown))
        assert json.loads(ground.terra("doctor", "-o", "json").text)["off"] == []
        if phase(ground) == "trial":
            ground.terra("rollback", "cm-01")
            wait_for(ground, "left")
    with ground.opened(machine["disk_groups"][0]["disks"][0]["device"]) as root:
        assert (root / "etc/lost").read_text() == "lost\n"
    ground.clear()
    assert ground.left() == []


@pytest.mark.parametrize("layout", ["directories", "earlier"])
def test_subvolumes_that_are_directories_are_carried_over(
    layout: str, ground: Ground, small: str, following: str, tmp_path: Path
) -> None:
    """Also where they are directories of the root, which is all of its file system, as an earlier Terra made it."""
    ground.clear()
    shown = ground.provision(small, more=f'[plugins]\nfilesystem = "ext4"\n{KEEP}')
    with whole(shown, tmp_path) as top:
        (top / "os/etc/app").mkdir()
        (top / "os/etc/app/settings").write_text("mine\n")
        (top / "home/data").write_text("precious\n")
        if layout == "earlier":
            for name in ("home", "log"):
                (top / f"os/{'var/' * (name == 'log')}{name}").rmdir()
            (top / "log").rename(top / "os/var/log")
            (top / "containerd").rmdir()
            (top / "home").rename(top / "os/home")
            for path in [*(top / "os").iterdir()]:
                path.rename(top / path.name)
            (top / "os").rmdir()
            (top / ".terra").rmdir()
    ground.terra("upgrade", "cm-01", "--image", following)
    wait_for(ground, "trial")
    with whole(node(ground), tmp_path) as top:
        assert (top / "os/usr/version").read_text() == "2\n"
        assert (top / "os/etc/app/settings").read_text() == "mine\n"
        assert (top / "home/data").read_text() == "precious\n"
        assert not [*(top / "os/home").iterdir()]


@contextmanager
def whole(shown: dict[str, Any], place: Path) -> Iterator[Path]:
    """Mount all of the file system that the root of a machine on ext4 is in."""
    lun = Path(shown["disk_groups"][0]["disks"][0]["device"])
    with loop_device(lun) as device, mounted(device, place, filesystem="ext4"):
        yield place
