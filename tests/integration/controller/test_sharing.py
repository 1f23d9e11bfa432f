"""Two hosts on one database and one store: the one that waits does work of the other one, and is killed or paused over it.

Every machine is made once, whatever happens: TERRA_ROUNDS=200 for that many rounds with kills.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from lab.postgresql import Postgresql
from terra_core.system.mounts import parse_mounts
from terra_core.system.process import Completed, Daemon
from terra_core.system.waiting import wait_until
from tests.integration.controller.sharers import Sharers, ended, last_two
from tests.integration.controller.sites import MANY, MUCH, SYSTEM
from tests.integration.controller.test_hosts import Both, hosts_of, states, wait_for_work
from tests.unit.oci.making import Blob, Item, layer, tar

pytestmark = pytest.mark.long
_SLOW = (("slow", 40), ("slower", 41))
"""Two images of their own, which take a while."""


class Pair(Both, Sharers):
    """Both hosts, of which each does one piece of work at a time."""

    piece = 0.3

    @property
    def root(self) -> Path:
        """The root of the first host, which leads."""
        return self.ground.site.root

    def terra(self, *words: str | Path, accept: Sequence[int] = (0,)) -> Completed:
        """Run terra at the first host."""
        return self.ground.terra(*words, accept=accept)

    def push(self, name: str, *layers: Sequence[Item | bytes] | Blob) -> str:
        """Push an image to the first host's registry."""
        return self.ground.push(name, *layers)

    def begin(self, image: str, number: int) -> Daemon:
        """Begin to make a machine."""
        return self.ground.start("provision", self.ground.node(image, f"cm-0{number}", f"52:54:00:00:00:0{number}"))

    def volumes(self) -> list[str]:
        """Return the files of all volumes."""
        return [last_two(str(path)) for path in (self.root / "iscsi").rglob("*.lun")]

    def worked_on(self) -> bool:
        """Return whether the second host has a machine's root mounted."""
        assert self.second.controller is not None
        for task in Path(f"/proc/{self.second.controller.pid}/task").glob("*/mountinfo"):
            with suppress(OSError):
                if any(self.second.root in point.path.parents for point in parse_mounts(task.read_text(errors="replace"))):
                    return True
        return False

    def given_away(self) -> tuple[Daemon, Daemon]:
        """Begin two machines: the first host is busy with one of them, and the second one in the middle of the other one."""
        images = [self.ground.push(name, SYSTEM, MANY, layer(tar(*MUCH[:many]), "plain")) for name, many in _SLOW]
        daemons = [self.begin(image, number) for number, image in enumerate(images, 1)]
        wait_until(lambda: ("golden", "san-02", "taken") in self.attempts(), seconds=120, what="the other host to take it")
        wait_until(self.worked_on, seconds=60, what="the other host to lay it down", interval=0.01)
        return daemons[0], daemons[1]

    def lose_one(self, number: int, random: Random) -> str:
        """Kill one of both hosts, and start it again."""
        site, second = self.ground.site, self.second
        assert site.controller is not None
        assert second.controller is not None
        if random.random() < 0.5:
            second.controller.signal(signal.SIGKILL)
            second.controller.wait(10)
            self.silence("san-02")
            second.start()
            return "san-02 was killed"
        site.controller.signal(signal.SIGKILL)
        site.controller.wait(10)
        wait_for_work(self, "san-02", of_second=True)
        site.start_controller()
        return "san-01 was killed, which led"

    def gather(self) -> None:
        """Let the first host lead, and the other one help it."""
        if states(self.first("GET", "/v1/hosts"))["san-01"] != ("working", True):
            self.second.terra("host", "drain", "san-02")
            wait_for_work(self, "san-01", of_second=False)
            self.second.terra("host", "resume", "san-02")


@pytest.fixture(scope="module")
def pair(postgresql: Postgresql) -> Iterator[Pair]:
    """Start both hosts; the first one leads."""
    with hosts_of(Pair, postgresql.make("sharing"), "jobs = 1\n") as pair:
        pair.wait_for_help()
        yield pair


def test_the_host_that_waits_does_half_of_the_work(pair: Pair) -> None:
    one, other = pair.given_away()
    try:
        ended(one)
        ended(other)
    finally:
        one.stop()
        other.stop()
    assert "san-02: lay" in one.log.read_text() + other.log.read_text(), "the client hears who does it"
    assert pair.attempts() == []
    pair.require_once()
    assert all(node["problem"] == "" for node in pair.ground.nodes())
    pair.ground.clear()
    pair.require_once()


def test_what_a_host_that_was_killed_had_begun_is_done_by_the_other_one_once(pair: Pair) -> None:
    assert pair.second.controller is not None
    one, other = pair.given_away()
    try:
        pair.second.controller.signal(signal.SIGKILL)
        pair.second.controller.wait(10)
        pair.silence("san-02")
        ended(one)
        ended(other)
        assert len(pair.ground.nodes()) == 2
        pair.silence("san-02")
        said = pair.ground.terra("doctor", "--root", pair.ground.site.root, accept=(0, 1)).text
        assert "san-02 has lost work that it had begun, and has not said that it is undone" in said
    finally:
        one.stop()
        other.stop()
        pair.second.start()
    pair.settled()
    pair.require_once()
    pair.ground.clear()
    pair.wait_for_help()


def test_a_host_that_was_paused_and_wakes_up_changes_nothing_and_undoes_its_own(pair: Pair) -> None:
    assert pair.second.controller is not None
    one, other = pair.given_away()
    try:
        pair.second.controller.signal(signal.SIGSTOP)
        try:
            pair.silence("san-02")
            ended(one)
            ended(other)
            before = pair.sql("select hostname, targets, digest, layout from nodes order by hostname")
        finally:
            pair.second.controller.signal(signal.SIGCONT)
        wait_until(lambda: not any(state == "lost" for *_, state in pair.attempts()), seconds=30, what="it to undo its own")
        assert pair.sql("select hostname, targets, digest, layout from nodes order by hostname") == before
    finally:
        one.stop()
        other.stop()
    pair.settled()
    pair.require_once()
    assert all(node["problem"] == "" for node in pair.ground.nodes())
    pair.ground.clear()


def test_the_host_that_leads_is_killed_and_the_next_one_undoes_what_it_did_for_it(pair: Pair) -> None:
    site = pair.ground.site
    assert site.controller is not None
    one, other = pair.given_away()
    try:
        site.controller.signal(signal.SIGKILL)
        site.controller.wait(10)
        wait_for_work(pair, "san-02", of_second=True)
        assert one.wait(60) != 0
        assert other.wait(60) != 0
        wait_until(lambda: not pair.sql("select 1 from nodes"), seconds=60, what="both machines to be undone")
    finally:
        one.stop()
        other.stop()
        site.start_controller()
    pair.settled()
    pair.require_once()
    pair.gather()
    pair.wait_for_help()


def test_a_drained_host_takes_nothing(pair: Pair) -> None:
    image = pair.ground.push("small", SYSTEM)
    pair.ground.terra("host", "drain", "san-02")
    try:
        machines = [pair.begin(image, number) for number in range(1, 4)]
        for machine in machines:
            ended(machine)
            assert "san-02:" not in machine.log.read_text()
    finally:
        pair.ground.terra("host", "resume", "san-02")
    pair.ground.clear()
    pair.wait_for_help()


def test_no_machine_is_made_twice_in_rounds_with_kills(pair: Pair) -> None:
    pair.play_rounds()
