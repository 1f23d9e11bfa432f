"""A database that does not answer for a while: what ends half-way meanwhile is finished or undone when it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from litestar.testing import TestClient
from sqlalchemy import event

from terra_core.config.loader import make_document
from terra_core.config.node import NetworkNode
from terra_core.controller.api import make_api
from terra_core.controller.keeping import Keeper
from terra_core.controller.store import Record, State
from terra_core.errors import ConflictError
from terra_core.service.database_server import DatabaseAway
from terra_core.system.progress import silent
from tests.unit.controller.fakes import Site, World, make_site, node_document, node_table

TOKEN = "the-token-of-this-test"
SAID = "postgresql://db.example/terra: the database does not answer now: connection refused"


@contextmanager
def away(site: Site, said: str = SAID) -> Iterator[None]:
    """Let the database answer no more while a block lasts."""

    def refuse(_: object) -> None:
        site.store.cut()
        raise DatabaseAway(said)

    event.listen(site.store.engine, "begin", refuse, insert=True)
    try:
        yield
    finally:
        event.remove(site.store.engine, "begin", refuse)


def with_its_answer_lost(site: Site, work: Callable[..., object]) -> Callable[..., Any]:
    """Return work of the store that is done, and whose caller does not get to know it."""

    def do(*words: object, **more: object) -> None:
        work(*words, **more)
        site.store.cut()
        raise DatabaseAway(SAID)

    return do


@pytest.fixture
def keeper(site: Site) -> Keeper:
    """Return a keeper that has brought everything to what the database says."""
    return kept(site)


def kept(site: Site) -> Keeper:
    keeper = Keeper(site.machines)
    keeper.begin()
    keeper.look()
    return keeper


def test_it_is_said_of_the_database_and_of_nothing_else(
    site: Site, keeper: Keeper, capsys: pytest.CaptureFixture[str]
) -> None:
    site.provision()
    with TestClient(make_api(site.context, TOKEN)) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        with away(site, f"{SAID} by a server that ends"):
            keeper.look()
        with away(site):
            for _ in range(3):
                keeper.look()
            assert dict(site.machines.troubles.services) == {"database": SAID}
            assert client.get("/healthz").json() == {"status": "degraded", "degraded": ["database"]}
            answer = client.get("/v1/nodes")
            assert (answer.status_code, answer.json()["title"], answer.headers["retry-after"]) == (503, "UnavailableError", "5")
            metrics = client.get("/metrics").text
            assert 'terra_service_up{service="database"} 0.0' in metrics
            assert "terra_store_free_bytes" in metrics
            assert "terra_nodes{" not in metrics
            assert "terra_store_promised_bytes" not in metrics, "0 would be wrong"
        keeper.look()
        assert client.get("/healthz").json() == {"status": "ok"}
        assert [node["hostname"] for node in client.get("/v1/nodes").json()] == ["cm-01"]
    said = capsys.readouterr()
    assert (said.out + said.err).count("the database does not answer; machines keep their disks") == 1


def test_targets_that_were_lost_meanwhile_are_exported_when_it_answers(site: Site, world: World, keeper: Keeper) -> None:
    site.provision()
    world.storage_runs = False
    world.exported.clear()
    with away(site):
        keeper.look()
        assert world.storage_runs
        keeper.look()
        assert world.exported == {}
    keeper.look()
    assert list(world.exported) == ["iqn.2024.san.example.cm-01:fs"]


def test_a_name_that_was_taken_without_its_asker_knowing_is_free_again(
    site: Site, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(site.store, "reserve", with_its_answer_lost(site, site.store.reserve))
        with pytest.raises(DatabaseAway):
            site.begin()
    with pytest.raises(ConflictError):
        site.begin()
    keeper.look()
    assert site.left() == []
    site.provision()


def test_a_machine_that_is_being_made_is_left_alone(site: Site, keeper: Keeper) -> None:
    record = site.begin()
    site.store.cut()
    keeper.look()
    assert site.store.get("cm-01") == record
    site.machines.provision(record, silent)
    assert site.store.get("cm-01").state is State.READY


@pytest.mark.parametrize("hook", ["pull_image", "make_volume entered", "prepare_disks left", "plan_target"])
def test_a_machine_whose_making_was_cut_is_taken_away(site: Site, world: World, keeper: Keeper, hook: str) -> None:
    gone = away(site)

    def leave(called: str) -> None:
        if called == hook:
            world.before = lambda hook: None
            gone.__enter__()

    record = site.begin()
    world.before = leave
    with pytest.raises(DatabaseAway):
        site.machines.provision(record, silent)
    gone.__exit__(None, None, None)
    assert site.store.get("cm-01").state is State.PROVISIONING
    keeper.look()
    assert site.left() == []


def test_a_machine_that_was_ready_without_its_maker_knowing_is_taken_away(
    site: Site, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its maker was told that it failed, and its disks are gone with what else was undone."""
    record, save, gone = site.begin(), site.store.save, away(site)

    def lose(saved: Record) -> Record:
        found = save(saved)
        if saved.state is State.READY:
            gone.__enter__()
            raise DatabaseAway(SAID)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(site.store, "save", lose)
        with pytest.raises(DatabaseAway):
            site.machines.provision(record, silent)
    gone.__exit__(None, None, None)
    assert site.store.get("cm-01").state is State.READY
    keeper.look()
    assert site.left() == []


def test_a_deletion_that_was_cut_is_finished(
    site: Site, world: World, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.provision()
    with monkeypatch.context() as patch:
        patch.setattr(site.store, "begin_delete", with_its_answer_lost(site, site.store.begin_delete))
        with pytest.raises(DatabaseAway):
            site.machines.begin_delete("cm-01")
    keeper.look()
    assert site.left() == []
    site.provision()
    record = site.machines.begin_delete("cm-01")
    with away(site), pytest.raises(DatabaseAway):
        site.machines.delete(record, silent)
    assert [one.problem for one in site.store.every()] == [""]
    keeper.look()
    assert site.left() == []


def changed() -> dict[str, Any]:
    return {**node_table(), "kernel_arguments": ["quiet"]}


@pytest.mark.parametrize("lost", [True, False])
def test_a_change_that_was_cut_is_as_if_it_had_never_been(
    site: Site, world: World, keeper: Keeper, monkeypatch: pytest.MonkeyPatch, *, lost: bool
) -> None:
    site.provision()
    former, published = site.store.get("cm-01"), dict(world.published)
    document, gone = make_document(changed(), NetworkNode, source="node.toml"), away(site)
    if lost:
        monkeypatch.setattr(site.store, "exchange", with_its_answer_lost(site, site.store.exchange))
    else:
        world.before = lambda hook: gone.__enter__() if hook == "publish_boot" else None
        world.fail.add("publish_boot")
    with pytest.raises(Exception, match=r"does not answer|as it should"):
        site.machines.altering.change(former, document, silent)
    monkeypatch.undo()
    world.before, world.fail = lambda hook: None, set()
    if not lost:
        gone.__exit__(None, None, None)
    assert site.store.get("cm-01").node.kernel_arguments == ("quiet",)
    plan = site.machines.altering.plan(document)
    assert plan.action.value == "change", "it is put back before it is planned anew"
    assert site.store.get("cm-01") == former
    keeper.look()
    assert world.published == published
    assert site.store.get("cm-01") == former


def test_what_was_laid_down_half_way_is_removed(tmp_path_factory: pytest.TempPathFactory) -> None:
    world = World(clones=True)
    site = make_site(tmp_path_factory.mktemp("clones"), world)
    keeper, gone = kept(site), away(site)

    def leave(called: str) -> None:
        if called == "prepare_disks left":
            world.before = lambda hook: None
            gone.__enter__()

    record = site.machines.reserve(node_document())
    world.before = leave
    with pytest.raises(DatabaseAway):
        site.machines.provision(record, silent)
    gone.__exit__(None, None, None)
    assert [golden.state.value for golden in site.store.golden.every()] == ["making"]
    keeper.look()
    assert list(site.store.golden.every()) == []
    assert site.left() == []
    site.provision()
    site.operations.stop()
    site.store.close()
