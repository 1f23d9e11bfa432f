"""Databases of earlier agents: their containers are as they were, and their tables those of a new database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from lab.databases import differences, differences_from_alembic, restore
from terra_core.service.database import open_database
from terra_core.service.migration import Migrations
from terra_orbit.agent.records import Move, State
from terra_orbit.agent.store import Store
from terra_orbit.agent.tables import SCHEMA

DUMPS = Path(__file__).with_name("dumps")
FORMER = {"schema-1": "98d6cd25", "schema-2": "cf8d4e97"}


@pytest.fixture(params=FORMER)
def former(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Restore a database of an earlier agent at ``orbit.db``; return the name of its dump."""
    restore(DUMPS / f"{request.param}.sql", tmp_path / "orbit.db")
    return str(request.param)


@pytest.fixture
def store(former: str, tmp_path: Path) -> Iterator[Store]:
    """Open the records of that database."""
    store = Store(f"sqlite:///{tmp_path / 'orbit.db'}")
    yield store
    store.close()


def test_every_schema_follows_the_one_before() -> None:
    schemas = Migrations(SCHEMA.migrations).schemas
    assert list(schemas) == [str(number) for number in range(len(schemas), 0, -1)]


def test_revisions_are_found_and_noted_as_by_alembic(tmp_path: Path) -> None:
    assert differences_from_alembic(SCHEMA.migrations, tmp_path) == []


@pytest.mark.usefixtures("store")
def test_the_tables_are_those_of_a_new_database(tmp_path: Path) -> None:
    engine, fresh = (
        create_engine(f"sqlite:///{tmp_path / 'orbit.db'}"),
        open_database(f"sqlite:///{tmp_path / 'fresh.db'}", SCHEMA),
    )
    assert differences(engine, SCHEMA.tables, fresh) == []
    engine.dispose()
    fresh.dispose()


def test_containers_are_as_they_were(store: Store, former: str) -> None:
    assert store.agent == FORMER[former], "by which the engine knows its containers"
    one, two = store.all()
    assert (one.id, one.state, one.revision, one.move) == ("one", State.RUNNING, 2, None)
    assert [(revision.number, str(revision.vhost.image)) for revision in one.revisions] == [(1, "tiny:1"), (2, "tiny:2")]
    assert one.current.vhost.env == ("A=1",)
    assert (two.id, two.state, two.revision) == ("two", State.STOPPED, 1)
    (attachment,) = store.attachments(one)
    assert (attachment.interface, attachment.addresses, attachment.mac) == ("eth0", ("10.88.0.2/24",), one.macs[0])
    assert store.attachments(two) == []
    assert store.former_addresses(two, "eth0") == ("10.88.0.3/24",)


def test_containers_move_change_and_go(store: Store) -> None:
    one, two = store.all()
    move = Move(url="https://10.0.10.21:9100", token="t", ref="10.0.10.3:5000/one:1", state=State.RUNNING)
    assert store.depart(one, move, "it moves").move == move
    store.forget(two)
    assert [record.id for record in store.all()] == ["one"]
