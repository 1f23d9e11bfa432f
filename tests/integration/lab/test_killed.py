"""A lab whose process is killed leaves nothing that runs, and the next one takes away the rest."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.leaks import Leaks, difference, snapshot
from lab.network import Network
from lab.place import ROOT, Place
from lab.processes import gone, mentioning, mount_namespace
from terra_core.system.process import Daemon, run
from terra_core.system.waiting import wait_until

SCRIPT = """
import sys, threading
from pathlib import Path
from lab.engine import Engine
from lab.machine import Machine
from lab.network import Network
from lab.registry import Registry
from terra_core.system.signals import interruptible

base = Path(sys.argv[1])
with (
    interruptible(),
    Network("victim") as network,
    Registry(network, base / "registry"),
    Engine(base / "engine", network),
    Machine(network, "52:54:00:00:00:99", base / "serial.log", memory=256),
):
    print("everything is up", flush=True)
    threading.Event().wait()
"""


@contextmanager
def lab(base: Path) -> Iterator[Daemon]:
    """Run every part of the lab in a process of its own."""
    daemon = Daemon([sys.executable, "-c", SCRIPT, base], log=base / "lab.log", env={"PYTHONPATH": str(Path.cwd())})
    try:
        wait_until(lambda: not daemon.alive or "everything is up" in daemon.tail(), seconds=60, what="the lab to be up")
        assert daemon.alive, daemon.tail()
        yield daemon
    finally:
        if daemon.alive:
            daemon.stop()


def test_killed_it_leaves_nothing_but_what_the_next_one_removes(tmp_path: Path) -> None:
    before = snapshot()
    with lab(tmp_path) as daemon:
        daemons = mentioning([tmp_path, ROOT / f"engine-{daemon.pid}"])
        assert {process.name for process in daemons} >= {"dockerd", "containerd", "qemu-system-x86"}
        daemon.signal(signal.SIGKILL)
        daemon.wait(10)
    assert gone(daemons, seconds=20), "a daemon ends with the lab that started it"

    with Network("next"):
        assert set(ROOT.glob(f"*-{daemon.pid}*")) == set()
    assert left_by(daemon, tmp_path, before) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_ended_by_a_signal_it_takes_everything_down_itself(tmp_path: Path, number: signal.Signals) -> None:
    before = snapshot()
    with lab(tmp_path) as daemon:
        daemon.signal(number)
        daemon.signal(number)
        assert daemon.wait(30) == 1
        assert f"interrupted by {number.name}" in daemon.tail()
    assert left_by(daemon, tmp_path, before) == []
    assert set(ROOT.glob(f"*-{daemon.pid}*")) == set()


HOLDER = """
import sys, threading
from pathlib import Path
from lab.place import Place
from terra_core.system.process import run

with Place("holder") as place:
    place.claim(Path(sys.argv[1]))
    run(["mount", "-t", "tmpfs", "victim", sys.argv[1]])
    print("mounted", flush=True)
    threading.Event().wait()
"""


def test_what_is_mounted_where_others_work_is_left_to_them(tmp_path: Path) -> None:
    """Check that the mounts of another worker's place are left to that worker: each worker has mounts of its own."""
    claimed = tmp_path / "claimed"
    claimed.mkdir()
    environment = {"PYTHONPATH": str(Path.cwd())}
    worker = Daemon(["unshare", "--mount", "--propagation=private", "sleep", "1000"], log=tmp_path / "worker.log")
    try:
        wait_until(lambda: mount_namespace(str(worker.pid)) != mount_namespace("self"), seconds=60, what="its own mounts")
        there = ["nsenter", f"--mount=/proc/{worker.pid}/ns/mnt", f"--wdns={Path.cwd()}", "--", sys.executable, "-c"]
        holder = Daemon([*there, HOLDER, claimed], log=tmp_path / "holder.log", env=environment)
        wait_until(lambda: not holder.alive or "mounted" in holder.tail(), seconds=60, what="the mount")
        place = ROOT / f"holder-{holder.pid}"
        holder.signal(signal.SIGKILL)
        holder.wait(10)
        with Place("elsewhere"):
            assert place.is_dir()
            assert mounted(worker, claimed)
        run([*there, "from lab.place import Place\nwith Place('there'): pass"], env=environment)
        assert not place.exists()
        assert not mounted(worker, claimed)
    finally:
        worker.stop()


def mounted(process: Daemon, directory: Path) -> bool:
    return f" {directory} " in Path(f"/proc/{process.pid}/mountinfo").read_text()


def left_by(daemon: Daemon, base: Path, before: Leaks) -> list[str]:
    """Return what this lab left, by the names of its namespace and files, whatever others do on the machine meanwhile."""
    return [line for line in difference(before, snapshot()) if f"-{daemon.pid}" in line or str(base) in line]
