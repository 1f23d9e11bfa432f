"""Three hosts on one cluster and one database: those that wait do work of the one that leads, and any of them is lost over it.

Every machine is made once, whatever happens: TERRA_ROUNDS=20 for that many rounds.
"""

from __future__ import annotations

import json
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from random import Random

import pytest

from lab.ceph import POOL, Ceph
from lab.hosts import Host, party
from lab.network import Network
from lab.registry import Registry
from lab.site import terra_command
from terra_ceph.shown import Image, parse_image, parse_names, parse_snapshots
from terra_core.config.controller import Paths
from terra_core.config.session import Session
from terra_core.controller.leases import LEASE_SECONDS
from terra_core.system.process import Completed, Daemon
from terra_core.system.undo import Undo
from terra_core.system.waiting import wait_until
from terra_iscsi.service import own_control
from tests.integration.controller.sharers import Sharers, ended, last_two
from tests.integration.controller.sites import MANY, MUCH, SYSTEM, node_toml, push
from tests.unit.oci.making import Blob, Item, layer, tar

pytestmark = pytest.mark.cluster
ADDRESSES = {"host-a": "10.0.10.31", "host-b": "10.0.10.32", "host-c": "10.0.10.33"}
LIMIT = 120.0
FAULTS = (
    ("leads", "was killed"),
    ("waits", "was killed"),
    ("leads", "was paused"),
    ("waits", "was paused"),
    ("leads", "lost its controller"),
    ("waits", "lost its controller"),
    ("waits", "was killed"),
)
"""What happens to whom, one after another. Their number is odd: each meets an image that is there, and one that is not."""
_DOES = re.compile(r"(host-[abc]): (lay|make)")


class Trio(Sharers):
    """Three hosts, of which each does one piece of work at a time.

    :param hosts: by name.
    :param network: the network that they and who asks for machines are in.
    :param url: of their database.
    :param work: a directory for files and logs.
    """

    machines = 5
    patience = 240.0

    def __init__(self, hosts: dict[str, Host], ceph: Ceph, registry: Registry, network: Network, url: str, work: Path) -> None:
        self.hosts, self._ceph, self._registry, self._network, self._url, self._work = hosts, ceph, registry, network, url, work
        self._number = 0

    @property
    def leader(self) -> Host:
        """The host that leads; it is waited for."""

        def found() -> Host | None:
            return next((host for host in self.hosts.values() if host.works()), None)

        return wait_until(found, seconds=LIMIT, what="a host to work")

    @property
    def root(self) -> Path:
        """The root of the controller that leads."""
        return self.leader.root

    def reaching(self) -> AbstractContextManager[object]:
        """Offer to be in the network."""
        return self._network.inside()

    def terra(self, *words: str | Path, accept: Sequence[int] = (0,)) -> Completed:
        """Run terra at the host that leads."""
        return self.leader.terra(*words, accept=accept)

    def push(self, name: str, *layers: Sequence[Item | bytes] | Blob) -> str:
        """Push an image to the registry."""
        return push(self._registry, self._path(name), name, *layers)

    def begin(self, image: str, number: int) -> Daemon:
        """Begin to make a machine; who asks for it is at none of the hosts."""
        hostname, leader = f"cm-0{number}", self.leader
        file = self._path(f"{hostname}.toml")
        file.write_text(node_toml(image, hostname, f"52:54:00:00:00:0{number}"))
        command = self._network.command([terra_command(), "provision", file])
        return Daemon(command, log=self._path("terra.log"), env=leader.environment())

    def volumes(self) -> list[str]:
        """Return the images of the pool."""
        return [f"{POOL}/{name}" for name in parse_names(self._ceph.rbd("ls", POOL, "--format", "json").text)]

    def lose_one(self, number: int, random: Random) -> str:
        """Kill or pause a host, or kill its controller; let it come back when others lead, or took its work."""
        whose, how = FAULTS[number % len(FAULTS)]
        leader = self.leader
        others = [host for host in self.hosts.values() if host is not leader]
        busy = {name for _, name, state in self.attempts() if state == "taken"}
        host = leader if whose == "leads" else random.choice([one for one in others if one.label in busy] or others)
        began = time.monotonic()
        if how == "was killed":
            host.kill()
        elif how == "was paused":
            host.signal(signal.SIGSTOP)
        else:
            host.controller.signal(signal.SIGKILL)
            host.controller.wait(10)
        if host is leader:
            wait_until(lambda: any(other.works() for other in others), seconds=LIMIT, what="another host to work")
        if how == "was paused":
            wait_until(lambda: time.monotonic() - began > LEASE_SECONDS + 5, seconds=LIMIT, what="its leases to be lost")
            host.signal(signal.SIGCONT)
        if how != "was paused" or host is leader:
            self._come_back(host, how)
        return f"{host.label}, which {whose}, {how}"

    def gather(self) -> None:
        """Wait until one host leads, and the others wait."""
        leader = self.leader
        others = dict.fromkeys(self.hosts.keys() - {leader.label}, ("waiting", False))
        wait_until(lambda: others.items() <= leader.hosts().items(), seconds=LIMIT, what="the others to wait")

    def require_once(self) -> None:
        """Check the same as for each store, and what Ceph and tgtd have more."""
        super().require_once()
        images = {name: parse_image(self._rbd("info", name)) for name in self.volumes()}
        self._require_snapshots(images)
        kept = {image.parent.id for image in images.values() if image.parent is not None and image.parent.trashed}
        assert {row["id"] for row in json.loads(self._rbd("trash", "ls", POOL, "--all"))} == kept, "what has clones is kept"
        leader = self.leader
        named = sorted(kept["target"]["name"] for row in self.sql("select targets from nodes") for kept in row.targets)
        control = own_control(Session(paths=Paths(leader.root)))
        assert sorted(target.iqn for target in control.targets()) == named
        for host in self.hosts.values():
            assert host is leader or "tgtd" not in host.names()

    def _require_snapshots(self, images: dict[str, Image]) -> None:
        """Check that golden volumes have one snapshot each, which the database names, and machines' volumes none."""
        rows = self.sql("select volumes from golden_volumes")
        stamps = {last_two(one["name"]): one["stamp"] for row in rows for one in row.volumes}
        for name, image in images.items():
            found = [f"{image.id}@{one.id}" for one in parse_snapshots(self._rbd("snap", "ls", name, "--all"))]
            assert found == [stamps[name]] if name in stamps else not found, name

    def _come_back(self, host: Host, how: str) -> None:
        """Start a host again, and let it in if it was shut out."""
        if how == "was paused":
            assert host.controller.wait(30) != 0, "its controller ends by itself"
        host.start()
        leader = self.leader
        wait_until(
            lambda: leader.hosts().get(host.label, ("silent", False))[0] != "silent", seconds=LIMIT, what="it to be there"
        )
        if leader.is_said_to_be(host, "fenced"):
            leader.terra("hosts", "--unfence", host.label)

    def _rbd(self, *words: str) -> str:
        return self._ceph.rbd(*words, "--format", "json").text

    def _path(self, name: str) -> Path:
        self._number += 1
        return self._work / f"{self._number}-{name}"


@pytest.fixture(scope="module")
def trio(network: Network, ceph: Ceph, registry: Registry) -> Iterator[Trio]:
    """Start the hosts."""
    with party(ADDRESSES, "sharing", ceph, registry, network, more="jobs = 1\n") as all_three:
        yield Trio(all_three.hosts, ceph, registry, network, all_three.url, all_three.work)


def test_the_hosts_that_wait_do_part_of_the_work(trio: Trio) -> None:
    trio.wait_for_help()
    slow = [layer(tar(*MUCH[: 40 + number]), "plain") for number in range(3)]  # so that who leads is busy with one of them
    images = [trio.push(f"image-{number}", SYSTEM, MANY, own) for number, own in enumerate(slow)]
    machines = [trio.begin(image, number) for number, image in enumerate(images * 2, 1)]
    with Undo() as undo:
        for machine in machines:
            undo.callback(machine.stop)
        for machine in machines:
            ended(machine)
    done = Counter(does for machine in machines for does in set(_DOES.findall(machine.log.read_text())))
    print(f"\nwhat the hosts that wait did of three images and six machines: {dict(done)}")  # noqa: T201  # figures
    assert {name for name, what in done if what == "lay"} == ADDRESSES.keys() - {trio.leader.label}
    assert trio.attempts() == []
    trio.require_once()
    trio.terra("delete", "--force", *(f"cm-0{number}" for number in range(1, 7)))
    trio.require_once()


def test_no_machine_is_made_twice_in_rounds_with_kills(trio: Trio) -> None:
    trio.play_rounds()
    for row in trio.sql("select distinct digest from golden_volumes"):
        trio.terra("images", "--remove", row.digest)
    trio.require_once()
    assert trio.volumes() == []
