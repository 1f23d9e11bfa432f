"""Databases of earlier controllers: their machines are as they were, and their tables those of a new database."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine

from lab.databases import differences, differences_from_alembic, restore
from terra_core.config.controller import Controller, Paths
from terra_core.config.loader import make_document
from terra_core.config.node import NetworkNode
from terra_core.config.values import Hostname
from terra_core.controller import daemon
from terra_core.controller.database import SCHEMA, open_database
from terra_core.controller.store import Record, State, Store
from terra_core.service.migration import Migrations
from tests.unit.controller.dumped import DUMPS, FORMER
from tests.unit.controller.fakes import node_table


@pytest.fixture(params=FORMER)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """Open a database of an earlier controller."""
    restore(DUMPS / f"{request.param}.sql", tmp_path / "terra.db")
    return open_database(f"sqlite:///{tmp_path / 'terra.db'}")


def test_every_schema_follows_the_one_before() -> None:
    schemas = Migrations(SCHEMA.migrations).schemas
    assert list(schemas) == [str(number) for number in range(len(schemas), 0, -1)]


def test_revisions_are_found_and_noted_as_by_alembic(tmp_path: Path) -> None:
    assert differences_from_alembic(SCHEMA.migrations, tmp_path) == []


def test_the_tables_are_those_of_a_new_database(engine: Engine, tmp_path: Path) -> None:
    fresh = open_database(f"sqlite:///{tmp_path / 'fresh.db'}")
    assert differences(engine, SCHEMA.tables, fresh) == []


def test_machines_are_as_they_were(engine: Engine) -> None:
    first, second = Store(engine).every()
    assert isinstance(first, Record)
    assert isinstance(second, Record)
    assert first.as_json() == {
        "hostname": "cm-01",
        "mac": "52:54:00:00:00:01",
        "image": "10.0.10.3:5000/stellarproject/small:6",
        "disk_groups": [
            {
                "label": "os",
                "stage": 1,
                "disks": [{"id": 1, "device": "/srv/terra/iscsi/cm-01/0.lun", "fs_size": 256}],
                "subvolumes": [
                    {"name": "home", "path": "/home"},
                    {"name": "log", "path": "/var/log"},
                    {"name": "containerd", "path": "/var/lib/containerd"},
                ],
                "target": {"iqn": "iqn.2024.san.terra.example.cm-01:fs:2", "id": 3},
            }
        ],
        "initiator_iqn": "iqn.2024.node.terra.example:cm-01:2",
    }
    assert (first.state, first.generation, first.problem) == (State.READY, 2, "")
    assert {(kept.storage, kept.store) for kept in (*first.targets, *second.targets)} == {("iscsi", "file")}
    assert first.kernel_arguments[-1] == "ISCSI_TARGET_PORT=3260"
    assert first.digest.startswith("sha256:")
    assert [group["label"] for group in second.as_json()["disk_groups"]] == ["os", "data"]
    assert second.tables == {"btrfs": {}}
    assert (first.layout, second.layout) == ("", ""), "nobody knows what they were laid down as"
    assert Store(engine).golden.every() == []


@pytest.mark.parametrize("wrong", ['{"label": "data"}', "5", '{"luns": [5]}', '{"luns": 5}'])
def test_a_target_that_cannot_be_read_takes_no_other_one_with_it(tmp_path: Path, wrong: str) -> None:
    restore(DUMPS / "schema-1.sql", tmp_path / "terra.db")
    with closing(sqlite3.connect(tmp_path / "terra.db")) as connection:
        change = "update nodes set targets = json_set(targets, '$[1]', json(?)) where hostname = 'cm-02'"
        connection.execute(change, (wrong,))
        connection.execute("update nodes set targets = 'x' where hostname = 'cm-01'")
        connection.commit()
    store = Store(open_database(f"sqlite:///{tmp_path / 'terra.db'}"))
    first, second = store.set_aside()
    assert (first.hostname, first.targets, first.whole) == ("cm-01", (), False)
    assert [kept.target.name for kept in second.targets] == ["iqn.2024.san.terra.example.cm-02:fs"]
    assert not second.whole


def test_records_that_were_written_anew_already_stay_as_they_are(tmp_path: Path) -> None:
    """Check databases of schema 1 with rows of schema 2: for a day, controllers without migrations wrote them."""
    former, path = tmp_path / "former.db", tmp_path / "terra.db"
    for database in (former, path):
        restore(DUMPS / "schema-2.sql", database)
    store = Store(open_database(f"sqlite:///{former}"))
    records = list(store.every())
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("update about set value = '1' where key = 'schema'; drop table alembic_version;")
    store = Store(open_database(f"sqlite:///{path}"))
    assert list(store.every()) == records
    store.close()


def test_machines_go_and_nothing_of_theirs_is_given_again(engine: Engine) -> None:
    store = Store(engine)
    store.forget(store.begin_delete("cm-01"))
    assert [record.hostname for record in store.every()] == ["cm-02"]
    for hostname, generation in (("cm-01", 3), ("gone", 2)):
        document = make_document(node_table(hostname, f"02:00:00:00:00:0{generation}"), NetworkNode, source="node.toml")
        assert document.value.mac is not None
        assert store.reserve(document.value, document.raw, document.tables).generation == generation
    assert store.number(Hostname("cm-01"), "os") == 6


def test_the_copy_of_before_a_migration_belongs_to_the_same_machines(tmp_path: Path) -> None:
    """Check that its identity is the one that the volumes are marked with, also where it got one at this start only."""
    paths = Paths(tmp_path)
    restore(DUMPS / "schema-1-first.sql", paths.state / "terra.db", tmp_path)
    daemon.open_store(Controller(), paths, paths.root / "iscsi").close()
    for copy in paths.state.glob("terra.db.schema-*"):
        copy.replace(paths.state / "terra.db")
    store = daemon.open_store(Controller(), paths, paths.root / "iscsi")
    assert [record.hostname for record in store.all()] == ["cm-01", "cm-02"]
    store.close()
