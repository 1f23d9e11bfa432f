"""An installation that is killed or interrupted at any step, and run again."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from lab.disks import Disk, blank
from terra_core.config.controller import Paths
from terra_core.errors import CommandError
from terra_core.install.disks import part_device
from terra_core.install.steps import ALL
from terra_core.system.mounts import mount_points
from terra_core.system.process import Daemon, run
from terra_core.system.waiting import wait_until
from tests.integration.install.grounds import Ground, Installed, group, scribble, starts

_STEP_SECONDS = 60


def begin(ground: Ground, node: Path, step: str, *words: str) -> Daemon:
    """Start an installation, and come back when it says that it is at ``step``."""
    log = ground.work / f"{step}.log"
    daemon = Daemon(ground.command("--json", *words, node), log=log)

    def there() -> bool:
        return f'"step": "{step}"' in log.read_text() or not daemon.alive

    wait_until(there, seconds=_STEP_SECONDS, what=f"the step {step}", interval=0.002)
    assert f'"step": "{step}"' in log.read_text(), log.read_text()
    return daemon


def expect_installed(top: Path, disks: tuple[Disk, ...]) -> None:
    parts = {"os": [part_device(disk.device, 3) for disk in disks[:2]], "data": [disks[2].device]}
    with Installed(top, parts) as there:
        assert (there / "os/os/etc/hostname").read_text() == "mt-01\n"
        assert "terra.uuid=" in (there / "os/os/boot/grub/grub.cfg").read_text()
        assert (there / "os/home/terra/note").read_text() == "from the image\n"
        assert (there / "data/srv").is_dir()
    assert all(starts(disk) for disk in disks[:2])


def make_node(ground: Ground, disks: tuple[Disk, ...]) -> Path:
    system, data = group("os", "raid1", disks[:2], home="/home"), group("data", "single", disks[2:], srv="/srv")
    return ground.node(system, data)


@pytest.mark.parametrize("step", ALL)
def test_killed_and_run_again_it_completes(step: str, ground: Ground, tmp_path: Path) -> None:
    with blank(tmp_path, [600, 600, 200]) as disks:
        node = make_node(ground, disks)
        killed = begin(ground, node, step)
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait(10)
        assert not [point for point in mount_points() if Path(point.source) in {disk.device for disk in disks}]
        assert not list(Paths().run.glob("install/work/deploy/root/*")), "what it had mounted was its own"
        ground.install(node)
        expect_installed(tmp_path / "top", disks)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("step", ["partition", "format", "boot"])
def test_interrupted_it_says_so_and_leaves_nothing_in_use(
    step: str, number: signal.Signals, ground: Ground, tmp_path: Path
) -> None:
    with blank(tmp_path, [600, 600, 200]) as disks:
        node = make_node(ground, disks)
        interrupted = begin(ground, node, step)
        os.kill(interrupted.pid, number)
        assert interrupted.wait(30) == 130
        assert "interrupted by" in interrupted.tail()
        for disk in disks:
            os.close(os.open(disk.device, os.O_RDONLY | os.O_EXCL))
        ground.install(node)
        expect_installed(tmp_path / "top", disks)


def test_what_was_killed_is_nobody_elses(ground: Ground, tmp_path: Path) -> None:
    with blank(tmp_path, [600, 600, 200]) as disks:
        killed = begin(ground, make_node(ground, disks), "apply")
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait(10)
        other = ground.node(group("os", "single", disks[:1]), hostname="other")
        assert "is not blank" in ground.install(other, accept=(1,)).stderr.decode()
        ground.install("--wipe", other)


def test_what_came_to_a_disk_after_a_kill_is_foreign(ground: Ground, tmp_path: Path) -> None:
    with blank(tmp_path, [600, 600, 200]) as disks:
        node = make_node(ground, disks)
        killed = begin(ground, node, "apply")
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait(10)
        device = disks[2].device
        wait_until(lambda: _free(device), seconds=60, what=f"{device} to be used by nobody")
        run(["mkfs.ext4", "-q", "-F", "-L", "photos", device])
        assert 'holds ext4 "photos"' in ground.install(node, accept=(1,)).stderr.decode()


def test_a_wipe_that_was_killed_does_not_ask_for_another(ground: Ground, tmp_path: Path) -> None:
    with blank(tmp_path, [600, 600, 200]) as disks:
        for at, disk in enumerate(disks):
            scribble(disk, at)
            run(["mkfs.ext4", "-q", disk.device])
        node = make_node(ground, disks)
        killed = begin(ground, node, "partition", "--wipe")
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait(10)
        ground.install(node)
        expect_installed(tmp_path / "top", disks)


def _free(device: Path) -> bool:
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_EXCL))
    except (OSError, CommandError):
        return False
    return True
