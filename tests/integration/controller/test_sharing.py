"""Two hosts on one database and one store: the one that waits does work of the other one, and is killed or paused over it.

Every machine is made once, whatever happens: TERRA_ROUNDS=200 for that many rounds with kills.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from lab.postgresql import Postgresql
from terra_core.errors import TerraError
from terra_core.system.mounts import parse_mounts
from terra_core.system.process import Daemon
from terra_core.system.waiting import wait_until
from tests.integration.controller.sites import MANY, MUCH, SYSTEM
from tests.integration.controller.test_hosts import Both, hosts_of, states, wait_for_work
from tests.unit.oci.making import layer, tar

pytestmark = pytest.mark.long
ROUNDS = int(os.environ.get("TERRA_ROUNDS", "2"))
MACHINES = 3
_SLOW = (("slow", 40), ("slower", 41))
"""Two images of their own, which take a while."""


class Pair(Both):
    """Both hosts, of which each does one piece of work at a time."""

    def sql(self, statement: str) -> Sequence[Any]:
        """Ask the database, or change it."""
        engine = create_engine(self._url)
        try:
            with engine.begin() as connection:
                found = connection.execute(text(statement))
                return list(found) if found.returns_rows else []
        finally:
            engine.dispose()

    def attempts(self) -> list[tuple[str, str, str]]:
        """Return the leases: what for, who has it, and where it stands."""
        query = (
            "select coalesce(work.kind, '') as kind, name, state from leases left join work on work.number = leases.number "
            "order by leases.number, attempt"
        )
        return [tuple(row) for row in self.sql(query)]

    def wait_for_help(self) -> None:
        """Wait until the host that leads has seen that the other one waits: its work goes into the queue from then on."""
        image = self.ground.push("probe", SYSTEM)

        def queued() -> bool:
            shown = self.ground.provision(image, "cm-09", "52:54:00:00:00:09")
            self.ground.terra("delete", "cm-09")
            return not str(shown["disk_groups"][0]["disks"][0]["device"]).endswith("/0.lun")

        wait_until(queued, seconds=120, what="work to be queued")

    def silence(self) -> None:
        """Let the leases of the second host be of a time long gone."""
        self.sql("update leases set until = until - 200 where state in ('taken', 'lost') and name = 'san-02'")

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

    def begin(self, image: str, number: int) -> Daemon:
        """Begin to make a machine."""
        return self.ground.start("provision", self.ground.node(image, f"cm-0{number}", f"52:54:00:00:00:0{number}"))

    def settled(self) -> None:
        """Wait until nothing is left of any work, after a look at everything."""

        def done() -> bool:
            with suppress(TerraError, OSError):
                self.ground.terra("doctor", "--fix", "--root", self.ground.site.root, accept=(0, 1))
            return not self.sql("select 1 from leases") and not self.sql("select 1 from work")

        wait_until(done, seconds=120, what="all work to be over", interval=0.5)

    def require_once(self) -> None:
        """Check that there is nothing but what the database names: each volume and each target once."""
        rows = self.sql("select hostname, state, targets from nodes")
        assert {row.state for row in rows} <= {"ready"}, rows
        targets = [kept["target"] for row in rows for kept in row.targets]
        wanted = [volume["name"] for target in targets for volume in target["volumes"]]
        golden = [one["name"] for row in self.sql("select volumes from golden_volumes") for one in row.volumes]
        place = self.ground.site.root / "iscsi"
        there = [str(path.relative_to(place)) for path in place.rglob("*.lun")]
        assert sorted(there) == sorted("/".join(Path(name).parts[-2:]) for name in (*wanted, *golden))
        assert len({target["id"] for target in targets}) == len(targets)


@pytest.fixture(scope="module")
def pair(postgresql: Postgresql) -> Iterator[Pair]:
    """Start both hosts; the first one leads."""
    with hosts_of(Pair, postgresql.make("sharing"), "jobs = 1\n") as pair:
        pair.wait_for_help()
        yield pair


def ended(daemon: Daemon) -> None:
    """Wait for the end of ``terra provision``."""
    assert daemon.wait(120) == 0, daemon.tail()


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
        pair.silence()
        ended(one)
        ended(other)
        assert len(pair.ground.nodes()) == 2
        pair.silence()
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
            pair.silence()
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
    pair.second.terra("host", "drain", "san-02")
    wait_for_work(pair, "san-01", of_second=False)
    pair.second.terra("host", "resume", "san-02")
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
    random = Random(ROUNDS)  # noqa: S311  # no secret
    image = pair.ground.push("round", SYSTEM, MANY)
    made = failed = 0
    began = time.monotonic()
    for _ in range(ROUNDS):
        machines = [pair.begin(image, number) for number in range(1, MACHINES + 1)]
        _kill_one(pair, random)
        codes = [machine.wait(120) for machine in machines]
        for machine in machines:
            machine.stop()
        _lead_again(pair)
        pair.settled()
        pair.require_once()
        names = {node["hostname"] for node in pair.ground.nodes()}
        told = {f"cm-0{number}" for number, code in enumerate(codes, 1) if code == 0}
        assert told <= names, "who was told that it is made has it"
        made, failed = made + len(names), failed + MACHINES - len(names)
        for name in sorted(names):
            pair.ground.terra("delete", "--force", name)
        pair.wait_for_help()
    seconds = time.monotonic() - began
    print(f"\n{ROUNDS} rounds with kills: {made} machines made, {failed} undone, none twice; {seconds:.0f} s")  # noqa: T201


def _kill_one(pair: Pair, random: Random) -> None:
    """Kill one of both hosts after a moment, and start it again."""
    wait_until(lambda: pair.attempts(), seconds=60, what="the work to begin", interval=0.02)
    time.sleep(random.uniform(0, 1.5))  # any moment of the work
    site, second = pair.ground.site, pair.second
    assert site.controller is not None
    assert second.controller is not None
    if random.random() < 0.5:
        second.controller.signal(signal.SIGKILL)
        second.controller.wait(10)
        pair.silence()
        second.start()
        return
    site.controller.signal(signal.SIGKILL)
    site.controller.wait(10)
    wait_for_work(pair, "san-02", of_second=True)
    site.start_controller()


def _lead_again(pair: Pair) -> None:
    """Let the first host lead, and the other one help it."""
    if states(pair.first("GET", "/v1/hosts"))["san-01"] != ("working", True):
        pair.second.terra("host", "drain", "san-02")
        wait_for_work(pair, "san-01", of_second=False)
        pair.second.terra("host", "resume", "san-02")
