"""Two hosts on one cluster and one database, and a portal that moves: the one that serves is killed, cut off, or paused.

A client writes all the time, and goes on at the other host. What was acknowledged to it is there in the end.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from iso.daemons import start, wait_ready
from lab.ceph import Ceph
from lab.hosts import PORTAL
from lab.namespace import Namespace
from lab.network import PREFIX, Network
from lab.registry import Registry
from terra_core.errors import TerraError
from terra_core.system.mounts import mount_points
from terra_core.system.process import Argument, run
from terra_core.system.undo import Undo
from tests.blocks import BLOCK, BLOCKS, content, lost, numbers
from tests.failover import GOES_ON, LIMIT, MACHINE, Seen, Site, begin, started, survive
from tests.integration.controller.sites import SYSTEM
from tests.unit.oci.making import LayoutMaker, tar

pytestmark = pytest.mark.cluster
FAULTS = int(os.environ.get("TERRA_FAULTS", "1"))
CLIENT = "10.0.10.40"
AWAY = 15.0
STILL = 3.0
"""A write that took so long, in seconds, was met by a fault."""


class Client(Namespace):
    """A machine that writes to its disk all the time: an initiator of libiscsi, in qemu-storage-daemon, and files over it.

    What a fault met is written over at once, and left alone from then on: if the host that was fenced carried out what it
    had been asked for, when it woke up, the earlier write would be there.

    :param network: its network.
    :param target: the row of its target in the database.
    :param work: a directory for its file.
    """

    def __init__(self, network: Network, target: dict[str, Any], work: Path) -> None:
        super().__init__("client")
        self._network, self._target, self._file, self._log = network, target, work / "disk", work / "client.log"
        self.acknowledged: dict[int, int] = {}
        self.left: set[int] = set()
        self.begun, self.newest = 0, 0
        self.problem = ""
        self.slowest = 0.0
        self._ended = threading.Event()
        self._stack = Undo()

    def __enter__(self) -> Self:
        super().__enter__()
        with Undo() as stack:
            stack.callback(super().__exit__, None, None, None)
            stack.enter_context(self._network.wire("to-client", self.name))
            self.ip("address", "add", f"{CLIENT}/{PREFIX}", "dev", "eth0")
            self.ip("link", "set", "eth0", "up")
            self._show(stack)
            thread = threading.Thread(target=self._write, name="client")
            thread.start()
            stack.callback(thread.join, 20)
            stack.callback(self._ended.set)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *failure: object) -> None:
        self._stack.unwind(failure)

    def _show(self, stack: Undo) -> None:
        """Show its disk as a file."""
        self._file.touch()
        own = self._target
        secret = self._log.with_name("secret")
        secret.write_text(own["data"]["secret"])
        disk = f"driver=iscsi,node-name=disk,transport=tcp,portal={PORTAL}:3260,target={own['name']},lun=1"
        account = f"user={own['client']},password-secret=chap,initiator-name={own['client']}"
        export = f"type=fuse,id=file,node-name=disk,mountpoint={self._file},writable=on"
        words: list[Argument] = ["qemu-storage-daemon", "--object", f"secret,id=chap,file={secret}"]
        words += ["--blockdev", f"{disk},{account}", "--export", export]
        stack.callback(run, ["umount", "--lazy", self._file], accept=(0, 1, 32))
        daemon = start(self.command(words), log=self._log)
        stack.callback(daemon.stop, 20)

        def shown() -> bool:
            return any(point.path == self._file for point in mount_points())

        wait_ready(daemon, shown, seconds=LIMIT, what="the client to log in to its disk")

    def _write(self) -> None:
        descriptor = os.open(self._file, os.O_RDWR | os.O_CLOEXEC)
        number = 0
        try:
            while not self._ended.wait(0.005):
                number += 1
                if number % BLOCKS not in self.left and self._put(descriptor, number) >= STILL:
                    self.left.add(number % BLOCKS)
                    number += BLOCKS
                    self._put(descriptor, number)
        except OSError as error:
            self.problem = f"write {self.begun}: {error}"
        finally:
            os.close(descriptor)

    def _put(self, descriptor: int, number: int) -> float:
        """Write a block, and now and then have all of them on the disk; return how long the block took, in seconds."""
        self.begun += 1
        self.newest = number
        began = time.monotonic()
        os.pwrite(descriptor, content(number), number % BLOCKS * BLOCK)
        took = time.monotonic() - began
        if self.begun % 8 == 0:
            os.fsync(descriptor)
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.acknowledged[number % BLOCKS] = number
        return took

    def stalled(self) -> float:
        """Return the longest time that a write has taken since this was asked last, in seconds."""
        slowest, self.slowest = self.slowest, 0.0
        return slowest

    def goes_on(self, after: int) -> bool:
        """Return whether it has gone on for some writes.

        :param after: the number of the write before.
        :raises TerraError: when it got an error.
        """
        if self.problem:
            raise TerraError(f"the client got an error: {self.problem}")
        return self.begun > after + GOES_ON


@pytest.fixture(scope="module")
def site(network: Network, ceph: Ceph, registry: Registry) -> Iterator[Site]:
    """Start both hosts, and provision a machine."""
    with started(network, ceph, registry) as site:
        LayoutMaker(site.work / "layout").image([tar(*SYSTEM)])
        image = registry.push(site.work / "layout", "small")
        node = site.work / "node.toml"
        node.write_text(
            f'hostname = "{MACHINE}"\nmac = "52:54:00:00:00:01"\nimage = "{image}"\n'
            '[[groups]]\nlabel = "os"\n[[groups.disk]]\ndevice = "/dev/sda"\nsize = 256\n'
            '[[groups]]\nlabel = "data"\n[[groups.disk]]\ndevice = "/dev/sdb"\nsize = 256\n'
        )
        site.leader().terra("provision", node)
        yield site


def test_the_client_goes_on_when_the_host_that_serves_is_killed_cut_off_or_paused(
    site: Site, network: Network, ceph: Ceph, tmp_path: Path
) -> None:
    target = site.target("data")
    seen: dict[str, list[Seen]] = {"killed": [], "cut off": [], "paused": []}
    with Client(network, target, tmp_path) as client:
        site.wait(lambda: client.goes_on(0), "the client to write")
        for _ in range(FAULTS):
            for how, found in seen.items():
                found.append(survive(site, client, how))
                print(f"\n{how}: {found[-1]}")  # noqa: T201  # figures
    assert client.problem == ""
    medians = {how: statistics.median(one.stall for one in found) for how, found in seen.items()}
    for how, found in seen.items():
        shown = ", ".join(f"{one.stall:.1f}" for one in found)
        print(f"{how}: the client stood still for {shown} s (median {medians[how]:.1f}),")  # noqa: T201  # figures
        print(f"  the portal was at the other host after {', '.join(f'{one.move:.1f}' for one in found)} s")  # noqa: T201
    verify(ceph, target, client, tmp_path)
    assert max(medians.values()) < 15 or os.getloadavg()[0] > (os.cpu_count() or 1)


def verify(ceph: Ceph, target: dict[str, Any], client: Client, work: Path) -> None:
    """Compare the disk with what was acknowledged: a write that was under way at a fault may be there, or not."""
    (volume,) = target["volumes"]
    ceph.rbd("export", "--no-progress", volume["name"], str(work / "held"))
    with (work / "held").open("rb") as file:
        held = numbers(file.read(BLOCKS * BLOCK))
    wrong = lost(client.acknowledged, held, client.newest)
    former = [block for block in client.left if held[block] != client.acknowledged[block]]
    print(f"  {client.begun} writes, {len(client.acknowledged)} blocks verified, {len(wrong)} lost;")  # noqa: T201  # figures
    print(f"  {len(client.left)} of them met by a fault, {len(former)} written by the host that was fenced")  # noqa: T201
    assert (wrong, former) == ([], [])


def test_a_controller_that_ends_in_order_hands_over_and_nobody_is_fenced(site: Site, network: Network, tmp_path: Path) -> None:
    leader = site.leader()
    other = site.other(leader)
    site.wait(lambda: other.is_said_to_be(other, "waiting"), "the other host to wait")
    with Client(network, site.target("data"), tmp_path) as client:
        site.wait(lambda: client.goes_on(0), "the client to write")
        client.stalled()
        leader.controller.stop(60)
        assert "tgtd" not in leader.names()
        site.wait(other.serves, "the other host to serve")
        at = client.begun
        site.wait(lambda: client.goes_on(at), "the client to go on")
        print(f"\nended in order: the client stood still for {client.stalled():.1f} s")  # noqa: T201  # a figure
        assert other.is_said_to_be(leader, "stopped")
        begin(leader)
        site.wait(lambda: leader.is_said_to_be(leader, "waiting"), "the former host to wait")
    assert client.problem == ""


def test_nothing_moves_while_postgresql_is_away(site: Site, network: Network, tmp_path: Path) -> None:
    leader = site.leader()
    with Client(network, site.target("data"), tmp_path) as client:
        site.wait(lambda: client.goes_on(0), "the client to write")
        client.stalled()
        site.server.kill()
        began = time.monotonic()
        site.wait(lambda: time.monotonic() - began > AWAY, "some time without a database")
        assert leader.has_portal()
        with network.inside():
            site.server.start()
        site.wait(leader.serves, "the same host to serve")
        at = client.begun
        site.wait(lambda: client.goes_on(at), "the client to go on")
        print(f"\nPostgreSQL was away for {AWAY:.0f} s: the slowest write took {client.stalled():.2f} s")  # noqa: T201  # a figure
    assert client.problem == ""
    site.wait(lambda: leader.is_said_to_be(site.other(leader), "waiting"), "the other host to be heard of again")
    assert leader.serves()
