"""Work of the host that leads, done by others: what comes of it, what is told of it, and what is left when it is lost."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve
from sqlalchemy import select, update

from terra_core.config.values import parse_image_reference
from terra_core.controller import holding, sharing
from terra_core.controller.crew import Crew
from terra_core.controller.database import leases, work
from terra_core.controller.hosts import HostRows, Own
from terra_core.controller.leading import Sole
from terra_core.controller.leases import LEASE_SECONDS, WorkRows
from terra_core.controller.machines import Machines
from terra_core.controller.rows import read_values, sent
from terra_core.controller.sharing import Shared
from terra_core.controller.store import Record, State
from terra_core.errors import InterruptedWork, TerraError
from terra_core.service.database_server import DatabaseAway
from terra_core.system.process import interruption
from terra_core.system.progress import Event
from terra_core.system.waiting import wait_until
from tests.unit.controller.fakes import Site, World, make_site
from tests.unit.controller.test_leases import A, B, C, join


class Waits(Sole):
    """The standing of a host that waits."""

    held = False


@define
class Two:
    """A host that leads, and has no turn free, and hosts that wait."""

    site: Site
    shared: Shared
    rows: WorkRows
    events: list[Event]

    def crew(self, own: Own = B) -> Crew:
        """Return the crew of a host that waits: of a process of its own, as far as the queue and the locks are concerned."""
        machines = Machines(self.site.services)
        shared = Shared(self.rows, HostRows(self.site.store.engine), own, 1)
        return Crew(self.rows, own, Waits(), shared, machines.pieces, 1)

    def provision(self, **more: object) -> Future[Any]:
        """Provision a machine in a thread of its own."""
        record = self.site.begin(**more)
        pool = ThreadPoolExecutor(1)
        return pool.submit(self.site.machines.provision, record, self.events.append)

    def volumes(self) -> list[str]:
        """Return the files of volumes."""
        place = self.site.paths.root / "iscsi"
        return sorted(str(path.relative_to(place)) for path in place.rglob("*.lun"))

    def said(self) -> list[str]:
        return [event.text for event in self.events]

    def silence(self) -> None:
        """Let nothing be heard of who has a lease."""
        with self.site.store.engine.begin() as connection:
            connection.execute(update(leases).values(until=leases.c.until - LEASE_SECONDS - 1))

    def states(self) -> list[str]:
        with self.site.store.engine.begin() as connection:
            return list(connection.scalars(select(leases.c.state).order_by(leases.c.number, leases.c.attempt)))

    def nothing_is_queued(self) -> bool:
        with self.site.store.engine.begin() as connection:
            return connection.execute(select(work)).all() == [] and connection.execute(select(leases)).all() == []


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Two]:
    monkeypatch.setattr(holding, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(sharing, "_LOOK_SECONDS", 0.02)
    monkeypatch.setattr(sharing, "_UNDOING_SECONDS", 2.0)
    site = make_site(tmp_path / "root", World(clones=True))
    for own in (A, B, C):
        join(site, own)
    rows = WorkRows(site.store.engine)
    shared = Shared(rows, HostRows(site.store.engine), A, 1)
    shared.helped = True
    services = evolve(site.services, sharing=shared)
    site = Site(site.world, site.paths, services, Machines(services), site.operations)
    yield Two(site, shared, rows, [])
    site.operations.stop()


@contextmanager
def busy(two: Two) -> Iterator[None]:
    """Let the host that leads have no turn free."""
    with two.shared.turn(lambda event: None):
        yield


def test_a_machine_is_made_by_another_host_and_told_of_as_here(two: Two) -> None:
    with busy(two), two.crew().working():
        shown = two.provision().result(20)
    assert shown["hostname"] == "cm-01"
    record = two.site.store.get("cm-01")
    assert record.state is State.READY
    assert [Path(name).name for name in two.volumes()] == ["2100.lun", "0.lun"], "the second piece of work, its first attempt"
    assert shown["disk_groups"][0]["disks"][0]["device"].endswith("cm-01/2100.lun")
    assert record.kernel_arguments[0] == "boot=terra"
    assert two.site.world.published["cm-01"][1] == "a kernel"  # type: ignore[index]  # a host name
    said = two.said()
    assert "b: lay docker.io/crosbymichael/cm-01:v5 down" in said
    assert "b: make the disks of cm-01" in said
    assert any(text.startswith("write the identity") for text in said), "what the other host does is told of"
    assert said.count("it is a fake") == 0 or said.count("os: it is a fake") == 1, "and what both look at is told of once"
    assert two.nothing_is_queued()


def test_the_host_that_leads_does_it_itself_where_it_has_a_turn_free(two: Two) -> None:
    two.site.provision()
    assert two.site.store.get("cm-01").state is State.READY
    assert two.nothing_is_queued()
    two.site.delete()
    assert [name for name in two.volumes() if name.startswith("cm-01")] == []


def test_nothing_is_queued_where_nobody_would_take_it(two: Two) -> None:
    two.shared.helped = False
    two.site.provision()
    assert [Path(name).name for name in two.volumes() if name.startswith("cm-01")] == ["0.lun"]
    assert two.nothing_is_queued()


@pytest.mark.parametrize("step", ["renew_identity", "clone_volume entered", "pull_image"])
def test_an_error_of_the_other_host_reaches_the_client_with_its_words_and_all_is_undone(two: Two, step: str) -> None:
    two.site.provision(hostname="cm-00", mac="54:b2:03:07:f1:d0")
    kept = two.volumes()
    hook = step.partition(" ")[0]

    def fail_elsewhere(asked: str) -> None:
        if asked == hook and threading.current_thread().name.startswith("crew"):
            raise TerraError("no room on the disk", hint="make room")

    two.site.world.before = fail_elsewhere
    with busy(two), two.crew().working(), pytest.raises(TerraError, match="no room on the disk") as failed:
        two.provision().result(20)
    assert (failed.value.message, failed.value.hint) == ("no room on the disk", "make room")
    assert two.volumes() == kept
    two.shared.clear(two.site.machines.pieces.remove)
    assert two.nothing_is_queued()


def test_who_is_silent_is_followed_and_changes_nothing_when_it_wakes_up(two: Two) -> None:
    two.site.provision(hostname="cm-00", mac="54:b2:03:07:f1:d0")
    paused, woken = threading.Event(), threading.Event()

    def pause(hook: str) -> None:
        if hook == "renew_identity" and not paused.is_set():
            paused.set()
            assert woken.wait(20)

    two.site.world.before = pause
    with busy(two), two.crew(B).working():
        made = two.provision()
        assert paused.wait(20)
        two.silence()
        with two.crew(C).working():
            assert made.result(20)["hostname"] == "cm-01"
        before = two.volumes()
        assert [name for name in before if name.startswith("cm-01")] == ["cm-01/3100.lun", "cm-01/3200.lun"]
        woken.set()
        wait_until(lambda: two.states() == ["gone"], seconds=10, what="the woken one to see that it is late")
    (kept,) = two.site.store.get("cm-01").targets
    assert kept.target.volumes[0].name.endswith("cm-01/3200.lun")
    assert [name for name in two.volumes() if name.startswith("cm-01")] == ["cm-01/3200.lun"]
    two.shared.clear(two.site.machines.pieces.remove)
    assert two.nothing_is_queued()
    assert "b: make the disks of cm-01" in two.said()
    assert "c: make the disks of cm-01" in two.said()


def test_work_that_is_interrupted_is_undone_by_who_does_it(two: Two) -> None:
    two.site.provision(hostname="cm-00", mac="54:b2:03:07:f1:d0")
    kept, begun, asked = two.volumes(), threading.Event(), threading.Event()

    def hang(hook: str) -> None:
        if hook == "renew_identity":
            begun.set()
            ended = interruption.get()
            assert ended is not None
            wait_until(ended, seconds=20, what="the end of the work")
            raise InterruptedWork("interrupted")

    def report(event: Event) -> None:
        if asked.is_set():
            raise InterruptedWork("asked for")

    two.site.world.before = hang
    record = two.site.begin()
    with busy(two), two.crew().working(), ThreadPoolExecutor(1) as pool:
        made = pool.submit(two.site.machines.provision, record, report)
        assert begun.wait(20)
        asked.set()
        with pytest.raises(InterruptedWork, match="asked for"):
            made.result(20)
        assert two.volumes() == kept, "it had the time to undo it"
    two.shared.clear(two.site.machines.pieces.remove)
    assert two.nothing_is_queued()


def test_a_host_that_ends_gives_its_work_back_at_once(two: Two) -> None:
    begun, once = threading.Event(), threading.Event()

    def hang(hook: str) -> None:
        if hook == "prepare_disks" and not once.is_set():
            once.set()
            begun.set()
            ended = interruption.get()
            assert ended is not None
            wait_until(ended, seconds=20, what="the end of the host")
            raise InterruptedWork("interrupted")

    two.site.world.before = hang
    with busy(two):
        with two.crew(B).working():
            made = two.provision()
            assert begun.wait(20)
        with two.crew(C).working():
            assert made.result(20)["hostname"] == "cm-01"
    assert len(two.volumes()) == 2, "nothing of the first one is left"


def test_the_next_host_that_leads_wants_nothing_of_that_and_removes_what_is_left(two: Two) -> None:
    two.site.provision(hostname="cm-00", mac="54:b2:03:07:f1:d0")
    kept = two.volumes()
    record = two.site.begin()
    golden = two.site.store.golden.every()[0]
    record = two.site.store.save(evolve(record, digest=golden.digest, targets=two.site.store.get("cm-00").targets))
    number = two.rows.put("machine", "cm-01.1", {})
    lease = two.rows.take(B, ["machine"])
    assert lease is not None
    name = str(two.site.paths.root / "iscsi/cm-01/2100.lun")
    volumes = [{"name": name, "size": 1, "full": False}]
    lease = two.rows.extend(lease, made={"owner": "cm-01", "store": "fake", "volumes": volumes})
    Path(name).parent.mkdir()
    Path(name).touch()
    machines = two.site.machines
    machines.unfinished()
    assert two.rows.outcome(number) is None
    two.shared.clear(machines.pieces.remove)
    assert len(two.volumes()) == len(kept) + 1, "who lost it may be about to undo it"
    for _ in range(4):
        two.silence()
    two.shared.clear(machines.pieces.remove)
    assert two.volumes() == kept, "who is silent for so long may be gone"
    assert two.states() == ["lost"], "or wake up, and make it still"
    Path(name).parent.mkdir()
    Path(name).touch()
    join(two.site, evolve(B, identity="started again"))
    two.shared.clear(machines.pieces.remove)
    assert two.volumes() == kept
    assert two.nothing_is_queued()


def test_what_a_record_names_is_never_removed(two: Two) -> None:
    two.site.provision()
    (kept,) = two.site.store.get("cm-01").targets
    volumes = [{"name": volume.name, "size": volume.size, "full": volume.full} for volume in kept.target.volumes]
    number = two.rows.put("machine", "cm-01.7", {})
    lease = two.rows.take(B, ["machine"])
    assert lease is not None
    two.rows.let_go(two.rows.extend(lease, made={"owner": "cm-01", "store": "fake", "volumes": volumes}))
    before = two.volumes()
    two.shared.clear(two.site.machines.pieces.remove)  # nobody waits for it
    assert two.rows.outcome(number) is None
    assert (two.volumes(), two.nothing_is_queued()) == (before, True)


def test_the_end_of_work_is_not_undone_where_the_database_did_not_say_whether_it_heard(
    two: Two, monkeypatch: pytest.MonkeyPatch
) -> None:
    two.site.provision(hostname="cm-00", mac="54:b2:03:07:f1:d0")
    finish = WorkRows.finish

    def heard_and_cut(self: WorkRows, lease: Any, *words: Any, **more: Any) -> None:
        finish(self, lease, *words, **more)
        if lease.kind == "machine":
            raise DatabaseAway("the connection was lost")

    monkeypatch.setattr(WorkRows, "finish", heard_and_cut)
    with busy(two), two.crew().working():
        assert two.provision().result(20)["hostname"] == "cm-01"
    assert any(name.startswith("cm-01/") for name in two.volumes())


def test_a_database_that_is_away_for_a_moment_ends_no_work_of_others(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome, failing = WorkRows.outcome, [3]

    def away(self: WorkRows, number: int) -> Any:
        if failing[0]:
            failing[0] -= 1
            raise DatabaseAway("the server does not answer")
        return outcome(self, number)

    monkeypatch.setattr(WorkRows, "outcome", away)
    with busy(two), two.crew().working():
        assert two.provision().result(20)["hostname"] == "cm-01"


def test_copies_of_kernels_that_others_have_made_are_kept_here_before_others_clone(two: Two) -> None:
    two.site.provision(hostname="cm-00", mac="54:b2:03:07:f1:d0")
    (golden,) = two.site.store.golden.every()
    place = two.site.machines.goldens.kernel(golden)
    for path in place.iterdir():
        path.unlink()
    place.rmdir()
    two.site.provision()
    assert sorted(path.name for path in place.iterdir()) == ["initrd.img", "vmlinuz"]
    assert [Path(name).name for name in two.volumes() if name.startswith("cm-01/")] == ["0.lun"], "it was made here"


def test_what_is_in_the_making_elsewhere_is_no_stray(two: Two) -> None:
    token = "0123456789abcdef"
    two.rows.put("golden", "a", {})
    lease = two.rows.take(B, ["golden"])
    assert lease is not None
    two.rows.extend(lease, made={"owner": f"golden_{token}", "token": token, "store": "fake", "volumes": []})
    two.site.store.known_volumes = two.site.paths.root / "iscsi"
    volume = two.site.paths.root / f"iscsi/golden_{token}/0.lun"
    copy = two.site.paths.state / "golden" / token
    for place in (volume.parent, copy):
        place.mkdir(parents=True)
    volume.touch()
    two.site.machines.goldens.remove_strays()
    assert volume.exists()
    assert copy.is_dir()


def test_a_record_comes_to_the_other_host_as_it_is_also_where_it_is_less_than_its_file(two: Two) -> None:
    record = two.site.begin(storage=True)
    (os_group,) = (group for group in record.node.groups if group.label == "os")
    image = parse_image_reference("docker.io/crosbymichael/cm-01:v6")
    less = evolve(record, node=evolve(record.node, image=image, groups=(os_group,)))
    found = read_values(json.loads(json.dumps(sent(less))))
    assert isinstance(found, Record)
    assert found.node == less.node
    assert (found.tables, found.generation, found.targets) == (less.tables, less.generation, less.targets)


def test_whether_others_help_is_seen_by_what_they_say(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("terra_core.controller.sharing.time.monotonic", lambda: now[0])
    own = evolve(A, store="fake", version="1")
    found: list[Any] = []

    class Hosts:
        def every(self) -> list[Any]:
            return found

    shared = Shared(two.rows, Hosts(), own, 1)  # type: ignore[arg-type]  # as far as it is asked

    def helped(*hosts: Any) -> bool:
        now[0] += 10
        found[:] = hosts
        shared.look(leads=True)
        return shared.helped

    def host(own: Own, state: str = "waiting") -> Any:
        return type("Host", (), {"own": own, "state": state, "runs": True})()

    assert not helped(host(own, "working"))
    assert helped(host(own, "working"), host(B))
    assert not helped(host(B, "drained"))
    assert not helped(host(B, "fenced"))
    assert not helped(host(evolve(B, store="other")))
    assert not helped(host(evolve(B, version="2")))
    assert helped(host(B))
    shared.look(leads=False)
    assert not shared.helped
