"""What the controller sees of machines: only what is theirs, once, also over its own end; and the states that follow."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from attrs import evolve
from litestar.testing import TestClient
from sqlalchemy import delete, update

from terra_core.client.answers import HappeningShown, StatusShown, read_answer
from terra_core.config.values import Label, Mac
from terra_core.controller import observing
from terra_core.controller.api import make_api
from terra_core.controller.database import happenings, target_numbers
from terra_core.controller.happening import Kind, Stage
from terra_core.controller.observing import Observer
from terra_core.controller.states import States
from terra_core.hookspecs import Connected, Sighting
from tests.unit.controller.fakes import Site, World, fake_plugins, make_site
from tests.unit.controller.test_other_plugins import switched

MAC = Mac("54:b2:03:07:f1:d1")
STRANGER = Mac("02:00:00:00:00:99")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observing, "_CONNECTIONS_SECONDS", 0.0)
    monkeypatch.setattr(observing, "_SHARE", 0)
    monkeypatch.setattr(observing, "_GONE_SECONDS", 0.0)


@pytest.fixture
def observer(site: Site) -> Observer:
    site.paths.run.mkdir(parents=True)
    site.provision()
    return Observer(site.services, site.machines)


@pytest.fixture
def client(site: Site) -> Iterator[TestClient[Any]]:
    with TestClient(make_api(site.context, "t")) as client:
        client.headers["Authorization"] = "Bearer t"
        yield client


def look(observer: Observer, site: Site) -> None:
    observer.look()
    site.store.happenings.flush()


def texts(site: Site, generation: int = 1) -> list[str]:
    return [one.text for one in site.store.happenings.read("cm-01", generation)]


def state(site: Site) -> str:
    return str(States(site.store).shown(site.store.get("cm-01"))["state"])


def states(site: Site) -> dict[str, object]:
    return {record.hostname: States(site.store).shown(record)["state"] for record in site.store.every()}


def connect(site: Site, name: str | None = None) -> None:
    kept, *_ = site.store.get("cm-01").targets
    client = Connected(name=kept.target.client if name is None else name, address="10.0.10.20")
    site.world.connected = {kept.target.id: (client,), kept.target.id + 100: (client,)}


def seen(world: World, text: str, *, mac: Mac = MAC, file: str = "", at: float | None = None) -> None:
    sighting = Sighting(mac=mac, time=time.time() if at is None else at, text=text, address="10.0.10.20", file=file)
    world.seen.append(sighting)


def report(site: Site, generation: int = 1) -> None:
    data = {"kernel": "6.12", "addresses": ["10.0.10.20"], "state": "running"}
    site.store.happenings.record("cm-01", generation, Kind.REPORT, "has booted", data, stage=Stage.BOOTED)
    site.store.happenings.flush()


def test_a_machine_goes_from_ready_to_booted_and_off_and_on_again(observer: Observer, site: Site, world: World) -> None:
    look(observer, site)
    assert (state(site), texts(site)) == ("ready", [])
    seen(world, "asks for an address")
    look(observer, site)
    assert state(site) == "ready", "also a machine that does not boot asks for an address"
    seen(world, "is sent vmlinuz", file="vmlinuz")
    look(observer, site)
    assert state(site) == "booting"
    connect(site)
    look(observer, site)
    assert state(site) == "booting"
    report(site)
    assert state(site) == "booted"
    for _ in range(3):
        look(observer, site)
    assert texts(site) == [
        "asks for an address",
        "is sent vmlinuz",
        "is connected to its disks os from 10.0.10.20",
        "has booted",
    ]
    world.connected = {}
    look(observer, site)
    look(observer, site)
    assert state(site) == "ready"
    assert texts(site)[-1] == "is not connected to its disks any more"
    seen(world, "is sent vmlinuz", file="vmlinuz")
    look(observer, site)
    assert state(site) == "booting"


def test_a_machine_that_gets_its_disks_back_runs_still(observer: Observer, site: Site, world: World) -> None:
    """Check what happens when the storage service was gone for longer than a moment."""
    connect(site)
    look(observer, site)
    report(site)
    world.connected = {}
    look(observer, site)
    look(observer, site)
    connect(site)
    look(observer, site)
    assert state(site) == "booted"


def test_a_short_loss_of_the_disks_is_none(
    observer: Observer, site: Site, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observing, "_GONE_SECONDS", 60.0)
    connect(site)
    look(observer, site)
    world.connected = {}
    look(observer, site)
    connect(site)
    look(observer, site)
    assert texts(site) == ["is connected to its disks os from 10.0.10.20"]


def test_a_storage_service_that_does_not_answer_is_no_loss(observer: Observer, site: Site, world: World) -> None:
    connect(site)
    look(observer, site)
    report(site)
    world.fail.add("find_connected")
    for _ in range(3):
        look(observer, site)
    assert state(site) == "booted"
    world.fail.clear()
    world.connected = {}
    site.machines.troubles.note("storage", "it hangs")
    for _ in range(3):
        look(observer, site)
    assert state(site) == "booted"


def test_what_strangers_do_is_not_the_machines(observer: Observer, site: Site, world: World) -> None:
    for _ in range(100):
        seen(world, "asks for an address", mac=STRANGER)
    seen(world, "is sent vmlinuz", mac=STRANGER, file="vmlinuz")
    connect(site, "iqn.2024.node.of.somebody.else")
    look(observer, site)
    assert (texts(site), state(site)) == ([], "ready")


def test_nothing_is_told_twice_by_the_next_controller_and_nothing_is_lost(
    observer: Observer, site: Site, world: World
) -> None:
    seen(world, "is sent vmlinuz", file="vmlinuz")
    connect(site)
    look(observer, site)
    report(site)
    before = texts(site)
    earlier = time.time() - 30
    seen(world, "asks for an address", at=earlier)
    site.store.close()
    after = make_site(site.paths.root, world)
    look(Observer(after.services, after.machines), after)
    assert texts(after) == [*before, "asks for an address"]
    assert after.store.happenings.read("cm-01", 1)[-1].time < after.store.happenings.read("cm-01", 1)[0].time
    assert state(after) == "booted"
    world.connected = {}
    third = Observer(after.services, after.machines)
    look(third, after)
    look(third, after)
    assert state(after) == "ready", "it was switched off while no controller ran"
    after.operations.stop()


def test_what_is_seen_late_has_the_time_that_it_happened(observer: Observer, site: Site, world: World) -> None:
    seen(world, "is sent vmlinuz", file="vmlinuz", at=time.time() - 600)
    connect(site)
    report(site)
    look(observer, site)
    assert state(site) == "booted", "it was sent the kernel of this boot"
    for odd in (-1e30, 1e30, float("nan"), time.time() + 1e6):
        seen(world, "asks for an address", at=odd)
    look(observer, site)
    assert len(texts(site)) == 7


def test_a_machine_that_is_made_again_begins_anew(observer: Observer, site: Site, world: World) -> None:
    connect(site)
    seen(world, "is sent vmlinuz", file="vmlinuz")
    look(observer, site)
    report(site)
    world.connected = {}
    site.delete()
    site.provision()
    look(observer, site)
    look(observer, site)
    assert (texts(site, 2), state(site)) == ([], "ready")


def test_each_fault_is_said_once(observer: Observer, site: Site, world: World) -> None:
    world.fail |= {"follow_boots", "find_connected"}
    for _ in range(3):
        look(observer, site)
    world.fail.clear()
    seen(world, "asks for an address")
    look(observer, site)
    assert texts(site) == ["asks for an address"]


def test_the_api_tells_all_of_a_machine(observer: Observer, site: Site, world: World, client: TestClient[Any]) -> None:
    seen(world, "is sent vmlinuz", file="vmlinuz")
    connect(site)
    look(observer, site)
    report(site)
    status = read_answer(client.get("/v1/nodes/cm-01/status").json(), StatusShown)
    assert (status.state, status.addresses, status.report["kernel"]) == ("booted", ("10.0.10.20",), "6.12")
    assert status.since == status.happenings[-1].time
    assert [one.address for one in status.connected] == ["10.0.10.20"]
    assert status.operation is None
    answers = client.get("/v1/nodes/cm-01/happenings").json()
    told = read_answer(answers, tuple[HappeningShown, ...])
    assert [(one.kind, one.text) for one in told] == [
        ("file", "is sent vmlinuz"),
        ("login", "is connected to its disks os from 10.0.10.20"),
        ("report", "has booted"),
    ]
    assert told[0].data == {"address": "10.0.10.20", "file": "vmlinuz"}
    assert client.get(f"/v1/nodes/cm-01/happenings?after={told[1].number}").json() == answers[2:]
    assert client.get("/v1/nodes/cm-01/happenings?limit=1").json() == answers[:1]
    assert client.get("/v1/nodes").json()[0]["state"] == "booted"
    assert client.get("/v1/info").json()["nodes"] == {"booted": 1}
    assert 'terra_nodes{state="booted"} 1.0' in client.get("/metrics").text
    for odd in ("after=-1", "limit=0", "limit=-5", "wait=-1", f"after={2**80}", f"limit={2**80}"):
        assert client.get(f"/v1/nodes/cm-01/happenings?{odd}").status_code == 200
    for path in ("status", "happenings"):
        assert client.get(f"/v1/nodes/nobody/{path}").status_code == 404
    world.fail.add("find_connected")
    assert "find_connected failed" in client.get("/v1/nodes/cm-01/status").json()["trouble"]


def test_who_waits_is_told_at_once_and_who_waits_in_vain_gets_nothing(
    observer: Observer, site: Site, client: TestClient[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    report(site)
    (first,) = client.get("/v1/nodes/cm-01/happenings?wait=10").json()
    monkeypatch.setattr("terra_core.controller.happening_routes._LONGEST_WAIT", 0.2)
    assert client.get(f"/v1/nodes/cm-01/happenings?wait=10&after={first['number']}").json() == []
    monkeypatch.setattr("terra_core.controller.happening_routes._LONGEST_WAIT", 30)
    from threading import Timer

    later = Timer(0.3, report, (site,))
    later.start()
    begun = time.monotonic()
    (second,) = client.get(f"/v1/nodes/cm-01/happenings?wait=30&after={first['number']}").json()
    later.join()
    assert second["number"] > first["number"]
    assert time.monotonic() - begun < 20


def test_operations_are_among_what_happened(site: Site, client: TestClient[Any], world: World) -> None:
    from tests.unit.controller.fakes import node_table
    from tests.unit.controller.test_api import outcome

    outcome(client, client.post("/v1/nodes", json=node_table()))
    site.store.happenings.flush()
    assert texts(site) == ["provision is asked for", "provision begins", "provision is done"]
    world.fail.add("withdraw_boot")
    assert outcome(client, client.delete("/v1/nodes/cm-01"))[0] == "problem"
    site.store.happenings.flush()
    assert texts(site)[3:] == ["delete is asked for", "delete begins", "delete failed: withdraw_boot failed, as it should"]
    steps = [one["data"].get("step") for one in client.get("/v1/nodes/cm-01/happenings").json()]
    assert steps == [None, "begun", "done", None, "begun", "failed"]
    status = read_answer(client.get("/v1/nodes/cm-01/status").json(), StatusShown)
    assert (status.state, status.problem) == ("failed", "cannot be taken away: withdraw_boot failed, as it should")
    assert status.operation is not None
    assert (status.operation.kind, status.operation.state) == ("delete", "failed")


def with_another_storage(site: Site, other: World) -> tuple[Site, Observer]:
    """Return the next controller, which has machines of two storage plugins: cm-01 of the former, cm-02 of its own."""
    after = switched(site, fake_plugins(site.world, other=other))
    after.provision(hostname="cm-02", mac="02:00:00:00:00:02")
    (kept,) = after.store.get("cm-02").targets
    other.connected = {kept.target.id: (Connected(name=kept.target.client, address="10.0.10.21"),)}
    return after, Observer(after.services, after.machines)


@pytest.mark.parametrize("failing", ["fake", "other", "service"])
def test_a_storage_plugin_that_fails_hides_nobody_of_another(observer: Observer, site: Site, failing: str) -> None:
    other = World()
    after, observer = with_another_storage(site, other)
    connect(site)
    if failing == "service":
        after.machines.troubles.note("storage", "the selected one cannot be started")
    else:
        {"fake": site.world, "other": other}[failing].fail.add("find_connected")
    for _ in range(3):
        look(observer, after)
    logins = {name: [one.text for one in after.store.happenings.read(name, 1)] for name in ("cm-01", "cm-02")}
    seen = "cm-02" if failing == "fake" else "cm-01"
    assert [name for name, said in logins.items() if said] == [seen]


def test_who_is_connected_by_a_plugin_that_fails_is_not_off(observer: Observer, site: Site) -> None:
    other = World()
    after, observer = with_another_storage(site, other)
    connect(site)
    look(observer, after)
    report(after)
    other.fail.add("find_connected")
    other.connected = {}
    site.world.connected = {}
    for _ in range(3):
        look(observer, after)
    assert [states(after)[name] for name in ("cm-01", "cm-02")] == ["ready", "booting"]
    other.fail.clear()
    for _ in range(3):
        look(observer, after)
    assert states(after)["cm-02"] == "ready"


def test_a_machine_of_two_plugins_is_told_of_once(observer: Observer, site: Site) -> None:
    other = World()
    after, observer = with_another_storage(site, other)
    (first,), (second,) = (after.store.get(name).targets for name in ("cm-01", "cm-02"))
    second = evolve(second, target=evolve(second.target, label=Label("data"), client=first.target.client))
    after.store.save(evolve(after.store.get("cm-01"), targets=(first, second)))
    after.store.forget(after.store.get("cm-02"))
    with after.store.engine.begin() as connection:
        connection.execute(update(target_numbers).values(hostname="cm-01"))
    other.connected = {second.target.id: (Connected(name=first.target.client, address="10.0.10.20"),)}
    connect(site)
    look(observer, after)
    before = texts(after)
    assert len(before) == 2
    other.fail.add("find_connected")
    look(observer, after)
    other.fail.clear()
    look(observer, after)
    assert texts(after) == before


@pytest.mark.parametrize("connected", [True, False])
def test_a_machine_whose_login_was_cut_while_no_controller_ran_is_known_to_have_booted(
    observer: Observer, site: Site, connected: bool
) -> None:
    connect(site)
    look(observer, site)
    report(site)
    with site.store.engine.begin() as connection:
        connection.execute(delete(happenings).where(happenings.c.kind == Kind.LOGIN.value))
    if not connected:
        site.world.connected = {}
    after = Observer(site.services, site.machines)
    for _ in range(3):
        look(after, site)
    assert state(site) == ("booted" if connected else "ready")


def test_a_storage_plugin_that_tells_of_nobody_makes_no_machine_off(
    observer: Observer, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    report(site)
    monkeypatch.setattr("terra_core.asking._Asking.brings", lambda self, hook: hook != "find_connected")
    for _ in range(3):
        look(observer, site)
    assert state(site) == "booted"
