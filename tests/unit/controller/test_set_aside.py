"""Rows that cannot be read: each is set aside and named, all others are served, and it can be deleted."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from litestar.testing import TestClient

from terra_core.controller.api import make_api
from terra_core.controller.records import Record, SetAside, State
from terra_core.errors import ConflictError, TerraError
from tests.unit.controller.fakes import Site, World, make_site

TOKEN = "a-token-of-the-tests"
GOOD = "iqn.2024.san.example.cm-01:fs"
BAD = "iqn.2024.san.example.cm-02:fs"
OLD = {"hostname": "cm-02", "mac": "02:00:00:00:00:02", "image": "docker.io/crosbymichael/cm-01:v5", "groups": []}
ROWS = [
    ("state = 'upgrading'", '"upgrading" is not one of provisioning, ready, deleting'),
    ("state = ''", "is not one of provisioning"),
    ("document = '{\"hostname\": '", "document: is no JSON"),
    ("document = '' ", "document: is no JSON"),
    ("document = 'null'", "document: expected a table, got null"),
    ("document = '[]'", "document: expected a table, got a list"),
    (f"document = '{json.dumps(OLD)}'", 'one group must be labelled "os"'),
    (f"document = '{json.dumps({**OLD, 'colour': 'red'})}'", "colour: neither a key of this file"),
    (f"document = '{json.dumps({**OLD, 'hostname': '_'})}'", "hostname: expected a host name"),
    (f"document = replace(document, '\"cm-02\"', '\"cm-01\"')", "the row is of 'cm-02', and what it holds of 'cm-01'"),  # noqa: F541
    ("document = '" + "[" * 100_000 + "'", "document: is no JSON"),
    ("document = x'ff00'", "document: is no JSON"),
    ("document = cast(x'7b22ff227d' as text)", "document: is no JSON"),
    ("tables = '7'", "tables: expected a table, got 7"),
    ("tables = 'x'", "tables: is no JSON"),
    ("targets = '{'", "targets: is no JSON"),
    ("targets = '7'", "expected a list, got 7"),
    ("targets = '[{}]'", "[0].target: is required and missing"),
    ("targets = replace(targets, '\"label\"', '\"colour\": 1, \"label\"')", "[0].target.colour: no such key"),
    ("targets = replace(targets, '\"portal\": \"127', '\"portal\": \"x127')", "[0].target.portal: expected"),
    ("targets = replace(targets, '\"contract\": 2', '\"contract\": 3')", "[0].contract: it was made for contract 3"),
    ("targets = replace(targets, '\"contract\": 2', '\"contract\": \"2\"')", "[0].contract: expected a whole number"),
    ("kernel_arguments = '\"boot=terra\"'", "expected a list"),
    ("kernel_arguments = '[1]'", "[0]: expected a string, got 1"),
    ("digest = x'00'", "expected a string"),
    ("mac = 'nowhere'", "the row is of 'nowhere', and what it holds of"),
    ("mac = '02-00-00-00-00-02'", "the row is of '02-00-00-00-00-02'"),
    ("generation = 'first'", "expected a whole number"),
    ("hostname = 'cm-03'", "the row is of 'cm-03', and what it holds of 'cm-02'"),
]


@pytest.fixture
def site(tmp_path: Path, world: World) -> Iterator[Site]:
    """Yield a controller with two machines."""
    site = make_site(tmp_path / "root", world)
    site.provision()
    site.provision(hostname="cm-02", mac="02:00:00:00:00:02")
    yield site
    site.operations.stop()


def spoil(site: Site, change: str) -> str:
    """Change the row of the second machine to something invalid; return the name that it has then."""
    connection = sqlite3.connect(site.paths.state / "terra.db")
    connection.execute(f"update nodes set {change} where hostname = 'cm-02'")  # noqa: S608  # no text from outside
    connection.commit()
    connection.close()
    return "cm-03" if "cm-03" in change else "cm-02"


def start(site: Site) -> None:
    """Run the steps of a controller's start."""
    site.machines.start_storage()
    site.machines.recover()
    site.machines.restore()
    site.machines.start_boot(site.machines.session)


@pytest.mark.parametrize(("change", "reason"), ROWS)
def test_the_row_is_set_aside_and_named_and_the_others_are_served(
    site: Site, world: World, change: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = spoil(site, change)
    world.storage_runs = False
    start(site)
    assert GOOD in world.exported
    assert name in capsys.readouterr().out
    assert [record.hostname for record in site.store.all()] == ["cm-01"]
    with TestClient(make_api(site.context, TOKEN)) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        good, bad = client.get("/v1/nodes").json()
        assert (good["hostname"], good["state"], good["problem"]) == ("cm-01", "ready", "")
        assert (bad["hostname"], bad["state"]) == (name, "failed")
        assert reason in bad["problem"]
        assert client.get(f"/v1/nodes/{name}").json()["hostname"] == name
        assert client.get("/v1/info").json()["nodes"] == {"ready": 1, "failed": 1}
        assert 'terra_nodes{state="failed"} 1.0' in client.get("/metrics").text
    with pytest.raises(TerraError, match=f"{name} is set aside: its record cannot be read"):
        site.store.get(name)


@pytest.mark.parametrize(("change", "reason"), ROWS)
def test_it_can_be_deleted_with_all_that_it_has(site: Site, world: World, change: str, reason: str) -> None:
    name = spoil(site, change)
    start(site)
    site.delete(name)
    assert [record.hostname for record in site.store.every()] == ["cm-01"]
    site.delete()
    known = "mac =" not in change and "hostname =" not in change  # else nobody can tell whose boot files they are
    assert site.left() == [] or (not known and site.left() == ["cm-02"])
    assert site.provision(hostname=name, mac="02:00:00:00:00:03")["hostname"] == name


def test_what_can_be_read_of_it_goes_on(site: Site, world: World) -> None:
    spoil(site, f"document = '{json.dumps(OLD)}'")
    world.exported.clear()
    world.storage_runs = False
    start(site)
    assert set(world.exported) == {GOOD, BAD}, "its disk is what it was: a stricter rule for its file takes nothing from it"


def test_what_cannot_be_read_is_not_touched(site: Site, world: World) -> None:
    spoil(site, "targets = 'x'")
    world.calls.clear()
    world.storage_runs = True
    start(site)
    assert BAD in world.exported
    assert "release_target" not in world.calls
    assert (site.paths.root / "iscsi" / "cm-02/0.lun").exists()


def test_a_delete_of_it_that_fails_is_noted_and_can_be_repeated(site: Site, world: World) -> None:
    spoil(site, "document = '7'")
    world.fail |= {"release_target"}
    with pytest.raises(TerraError, match="release_target failed"):
        site.delete("cm-02")
    found = site.store.find("cm-02")
    assert isinstance(found, SetAside)
    assert found.problem == "cannot be taken away: release_target failed, as it should"
    assert "cannot be taken away" in found.as_row()["problem"]
    world.fail.clear()
    site.delete("cm-02")
    assert [record.hostname for record in site.store.every()] == ["cm-01"]


def test_a_delete_of_it_that_was_begun_is_finished_at_the_start(site: Site) -> None:
    spoil(site, "document = '7'")
    site.store.begin_delete("cm-02")
    with pytest.raises(ConflictError, match="is being deleted already"):
        site.store.begin_delete("cm-02")
    start(site)
    assert [record.hostname for record in site.store.every()] == ["cm-01"]


def test_the_storage_service_is_not_stopped_while_there_is_one(site: Site, world: World) -> None:
    site.delete()
    spoil(site, "document = '7'")
    site.machines.stop_unused_storage()
    assert "stop_storage" not in world.calls


def test_its_name_and_address_stay_taken(site: Site) -> None:
    spoil(site, "document = '7'")
    for more in ({"hostname": "cm-02", "mac": "02:00:00:00:00:09"}, {"hostname": "cm-09", "mac": "02:00:00:00:00:02"}):
        with pytest.raises(ConflictError, match="belongs to cm-02"):
            site.begin(**more)


@pytest.mark.parametrize(
    "change",
    [
        {"kernel_arguments": (Path("/x"),)},
        {"kernel_arguments": (1,)},
        {"digest": None},
        {"problem": Path("/x")},
        {"generation": True},
    ],
)
def test_what_would_not_read_back_is_not_written(site: Site, change: dict[str, Any]) -> None:
    before = site.store.get("cm-02")
    with pytest.raises(TerraError, match="cm-02: its record cannot be kept"):
        site.store.save(evolve(before, **change))
    assert site.store.get("cm-02") == before


def test_a_target_of_a_wrong_kind_is_not_written(site: Site) -> None:
    before = site.store.get("cm-02")
    (kept,) = before.targets
    wrong: Any = Path(kept.target.name)
    with pytest.raises(TerraError, match=r"cm-02: its record cannot be kept: \[0\]\.target\.name: expected a string"):
        site.store.save(evolve(before, targets=(evolve(kept, target=evolve(kept.target, name=wrong)),)))
    assert isinstance(site.store.get("cm-02"), Record)
    assert site.store.get("cm-02").state is State.READY
