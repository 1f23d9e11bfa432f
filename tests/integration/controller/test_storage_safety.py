"""Secrets that nobody reads, disks that no running machine loses by accident, and room that is left for those that run."""

from __future__ import annotations

import gzip
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from lab.disks import sparse
from lab.network import GATEWAY, ISCSI
from terra_core.system.mounts import loop_device, mounted
from terra_core.system.process import Daemon, run
from terra_core.system.waiting import wait_until
from tests.integration.controller.sites import Ground

_SHOWING = (
    ["list"], ["list", "-o", "wide"], ["list", "--json"], ["info"], ["audit", "-o", "json"], ["images", "-o", "json"],
    ["status", "cm-01", "-o", "json"], ["logs", "cm-01", "-o", "json"], ["hosts", "--json"], ["token", "list", "--json"],
)  # fmt: skip
_ROUTES = ("/metrics", "/v1/nodes/cm-01", "/v1/nodes/cm-01/status", "/v1/operations", "/schema/openapi.json", "/healthz")


@pytest.fixture(autouse=True)
def _nothing_before_and_after(ground: Ground) -> None:
    """Begin every test with an empty site."""
    ground.clear()
    assert ground.left() == []


@contextmanager
def watched_arguments() -> Iterator[set[bytes]]:
    """Yield the command lines of all processes that are seen while the block runs."""
    seen: set[bytes] = set()
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    seen.add((process / "cmdline").read_bytes())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def holders(top: Path, secret: bytes) -> dict[Path, bool]:
    """Return the files below a directory that hold a secret, and of each whether others than its owner and root can read it."""
    found = {}
    for path in top.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.suffix != ".lun" and secret in path.read_bytes():
            above = [one for one in path.parents if top in one.parents]
            found[path] = bool(path.stat().st_mode & 0o077) and all(one.stat().st_mode & 0o011 for one in above)
    return found


def test_a_secret_is_where_it_has_to_be_and_nowhere_else(ground: Ground, small: str) -> None:
    with watched_arguments() as seen:
        shown = ground.provision(small)
        iqn, initiator = shown["disk_groups"][0]["target"]["iqn"], shown["initiator_iqn"]
        secret = ground.secrets()[initiator]
        (tgtd,) = [process for process in ground.site.network.processes() if process.name == "tgtd"]
        os.kill(tgtd.pid, signal.SIGKILL)
        wait_until(lambda: ground.may_log_in(initiator, iqn), seconds=60, what="the target to be back with its account")
        for wrong in ("", "wrong" * 5):
            assert not ground.may_log_in(initiator, iqn, wrong)
        said: list[object] = [ground.terra(*words) for words in _SHOWING]
        said.append(ground.terra("doctor", "-o", "json", "--root", ground.site.root, accept=(0, 1)))
        with ground.site.network.inside():
            said += [b"".join(ground.client().stream(path)) for path in _ROUTES]
    assert any(b"provision" in line for line in seen), "it has looked"
    assert not [line for line in seen if secret.encode() in line]
    assert not [one for one in (*said, shown) if secret in repr(one)]
    held = holders(ground.site.root, secret.encode())
    assert {path.name for path in held} <= {"terra.db", "terra.db-wal", "terra.db-shm"}
    assert not [path for path, open_to_others in held.items() if open_to_others]
    archive = ground.site.paths.tftp / "nodes/cm-01/steps.img"
    assert secret.encode() in gzip.decompress(archive.read_bytes()), "the machine gets it"
    assert archive.stat().st_mode & 0o777 == 0o400
    ground.terra("delete", "cm-01")
    assert ground.provision(small)["disk_groups"][0]["target"]["iqn"] != iqn
    assert secret not in ground.secrets().values()


def test_a_machine_that_is_logged_in_keeps_its_disks(ground: Ground, small: str) -> None:
    shown = ground.provision(small)
    iqn, initiator = shown["disk_groups"][0]["target"]["iqn"], shown["initiator_iqn"]
    words = ground.site.network.command(["iscsi-perf", "-i", initiator, "-t", "120", f"iscsi://{ISCSI}/{iqn}/1"])
    machine = Daemon(words, log=ground.path("perf.log"), env=ground.account(initiator))
    try:
        wait_until(lambda: b"iops" in machine.log.read_bytes(), seconds=30, what="the machine to read")
        refused = ground.terra("delete", "cm-01", accept=(1,)).stderr.decode()
        assert f"cm-01 is logged in to its disks: {initiator} from {GATEWAY}" in re.sub(r"\s+", " ", refused)
        assert "terra delete --force cm-01" in re.sub(r"\s+", " ", refused)
        wait_until(lambda: [node["state"] for node in ground.nodes()] == ["booting"], seconds=60, what="its login to be seen")
        assert machine.alive
        ground.terra("delete", "--force", "cm-01")
    finally:
        machine.stop(1)
    assert ground.left() == []


@pytest.fixture
def small_store(ground: Ground, tmp_path: Path) -> Iterator[Path]:
    """Put the volumes on a file system of 300 MB, for a controller and services that are started after it is there."""
    volumes, image = ground.site.paths.root / "iscsi", sparse(tmp_path / "store", 300)
    run(["mkfs.ext4", "-q", "-m", "0", image])
    ground.site.stop_controller()
    ground.site.stop_services()
    volumes.mkdir(exist_ok=True)
    with loop_device(image) as device, mounted(device, volumes, filesystem="ext4"):
        ground.site.start_controller()
        yield volumes
        ground.clear()
        ground.site.stop_controller()
        ground.site.stop_services()
    ground.site.start_controller()


def test_a_store_that_is_nearly_full_takes_no_machine_and_serves_those_that_it_has(
    ground: Ground, small: str, small_store: Path
) -> None:
    shown = ground.provision(small)
    initiator, iqn = shown["initiator_iqn"], shown["disk_groups"][0]["target"]["iqn"]
    filler = small_store / "filler"
    with filler.open("wb") as file:
        room = os.statvfs(small_store)
        os.posix_fallocate(file.fileno(), 0, (room.f_bavail - room.f_blocks * 4 // 100) * room.f_frsize)
    refused = ground.terra("provision", ground.node(small, "cm-02", "52:54:00:00:00:02"), accept=(1,)).stderr.decode()
    assert "there is no room for a further machine" in re.sub(r"\s+", " ", refused)
    assert "terra delete" in refused
    assert [(node["hostname"], node["state"], node["problem"]) for node in ground.nodes()] == [("cm-01", "ready", "")]
    wait_until(lambda: "no room for a further machine" in ground.terra("info").text, seconds=60, what="terra info to say so")
    assert ground.may_log_in(initiator, iqn)
    filler.unlink()
    node = ground.node(small, "cm-02", "52:54:00:00:00:02")
    node.write_text(node.read_text().replace("size = 256", 'size = 256\nallocation = "full"'))
    assert "256 MB are asked for" in re.sub(r"\s+", " ", ground.terra("provision", node, accept=(1,)).stderr.decode())
    node.write_text(node.read_text().replace("size = 256", "size = 128"))
    ground.terra("provision", node)
    assert (small_store / "cm-02/0.lun").stat().st_blocks * 512 >= 128 * 1024 * 1024
    assert (small_store / "cm-01/0.lun").stat().st_blocks * 512 < 128 * 1024 * 1024


def test_an_image_that_takes_what_is_kept_for_machines_is_given_up_and_leaves_nothing(
    ground: Ground, small: str, big: str, small_store: Path
) -> None:
    shown = ground.provision(small)

    def free() -> int:
        room = os.statvfs(small_store)
        return room.f_bavail * room.f_frsize

    with (small_store / "filler").open("wb") as file:  # room for the 100 MB of the image, and not for these beside the reserve
        os.posix_fallocate(file.fileno(), 0, free() - 116 * 1024 * 1024)
    before = free()
    refused = ground.terra("provision", ground.node(big, "cm-02", "52:54:00:00:00:02"), accept=(1,)).stderr.decode()
    assert "are kept for the machines that there are" in re.sub(r"\s+", " ", refused)
    assert [node["hostname"] for node in ground.nodes()] == ["cm-01"]
    assert free() > before - 1024 * 1024
    assert sorted(path.name for path in small_store.glob("*/")) == sorted(["cm-01", "lost+found", *ground.golden()])
    assert ground.may_log_in(shown["initiator_iqn"], shown["disk_groups"][0]["target"]["iqn"])
