"""The hosts of a database: announced, listed, silent, stopped and forgotten."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from litestar.testing import TestClient
from sqlalchemy import Engine, update

from terra_core.client.answers import HostShown, read_answer
from terra_core.config.controller import Controller
from terra_core.config.values import Hostname
from terra_core.controller.api import make_api
from terra_core.controller.database import controllers
from terra_core.controller.host_session import name_lock
from terra_core.controller.hosts import Doing, HostRows, Own
from terra_core.controller.presence import alone_with, announced, own_of
from terra_core.errors import ConflictError, NotFoundError, TerraError
from tests.unit.controller.fakes import Site

OWN = Own(name="san-01", identity="1a", url="https://10.0.10.3:9000", portal="10.0.10.4", store="file", version="1")
TOKEN = "the-token-of-this-test"


@pytest.fixture
def rows(site: Site) -> HostRows:
    """Return the hosts of a new database."""
    return HostRows(site.store.engine)


def silence(engine: Engine, seconds: float) -> None:
    with engine.begin() as connection:
        connection.execute(update(controllers).values(seen=controllers.c.seen - seconds))


def states(rows: HostRows) -> dict[str, tuple[str, bool]]:
    return {host.own.name: (host.state, host.leads) for host in rows.every()}


def test_a_host_is_there_until_nothing_is_heard_of_it(rows: HostRows, site: Site) -> None:
    assert rows.every() == []
    rows.announce(OWN, Doing.WORKING)
    (host,) = rows.every()
    assert (host.own, host.state, host.leads, host.runs) == (OWN, "working", True, True)
    silence(site.store.engine, 19)
    assert states(rows) == {"san-01": ("working", True)}
    silence(site.store.engine, 2)
    assert states(rows) == {"san-01": ("silent", False)}
    rows.beat(OWN, Doing.WORKING)
    assert states(rows) == {"san-01": ("working", True)}


@pytest.mark.parametrize("time", ["'x'", "''", "x'ff'", "1e400", "-1", "9223372036854775807", "cast(x'ff' as text)"])
@pytest.mark.parametrize("column", ["seen", "started"])
def test_a_time_that_is_none_hides_no_host(rows: HostRows, site: Site, column: str, time: str) -> None:
    rows.announce(OWN, Doing.WORKING)
    with site.store.engine.begin() as connection:
        connection.exec_driver_sql(f"update controllers set {column} = {time}")  # noqa: S608  # no text from outside
    (host,) = rows.every()
    assert host.as_json()[column] == "1970-01-01T00:00:00.000Z"
    assert host.state == ("silent" if column == "seen" else "working")
    rows.beat(OWN, Doing.WORKING)
    assert states(rows) == {"san-01": ("working", True)}


def test_one_that_ended_in_order_is_not_silent(rows: HostRows, site: Site) -> None:
    with announced(site.store.engine, OWN, lambda: Doing.WORKING):
        assert states(rows) == {"san-01": ("working", True)}
    silence(site.store.engine, 3600)
    assert states(rows) == {"san-01": ("stopped", False)}


def test_a_host_that_is_there_is_not_forgotten(rows: HostRows, site: Site) -> None:
    rows.announce(OWN, Doing.WORKING)
    with pytest.raises(ConflictError, match="the host san-01 is there: it is working"):
        rows.forget("san-01")
    silence(site.store.engine, 60)
    assert rows.forget("san-01").own == OWN
    with pytest.raises(NotFoundError, match="no host is named 'san-01'"):
        rows.forget("san-01")
    rows.beat(OWN, Doing.WORKING)
    assert states(rows) == {"san-01": ("working", True)}, "it is there after all"


def test_a_file_has_one_controller_whatever_its_name_was_before(rows: HostRows) -> None:
    rows.announce(OWN, Doing.WORKING)
    rows.announce(evolve(OWN, name="san-02", identity="2b"), Doing.WORKING)
    assert states(rows) == {"san-02": ("working", True)}


def test_a_host_that_is_fenced_stays_so_until_it_has_started_again_and_is_let_in(rows: HostRows, site: Site) -> None:
    rows.announce(OWN, Doing.WORKING)
    assert rows.serving(evolve(OWN, name="san-02")) == ["san-01"]
    assert rows.serving(OWN) == []
    silence(site.store.engine, 60)
    assert rows.serving(evolve(OWN, name="san-02")) == ["san-01"], "one that says nothing may serve machines all the same"
    with pytest.raises(ConflictError, match="is not fenced: it is silent"):
        rows.require_returned("san-01")
    rows.fence("san-01")
    assert rows.serving(evolve(OWN, name="san-02")) == []
    rows.beat(OWN, Doing.WORKING)
    assert states(rows) == {"san-01": ("fenced", False)}, "whatever it says when it wakes up"
    with pytest.raises(ConflictError, match="has not started since"):
        rows.require_returned("san-01")
    again = evolve(OWN, identity="2b")
    rows.announce(again, Doing.WAITING)
    rows.beat(again, Doing.WAITING)
    assert states(rows) == {"san-01": ("fenced", False)}
    assert rows.require_returned("san-01").own == again
    with pytest.raises(ConflictError, match="the host san-01 is there: it is fenced"):
        rows.forget("san-01")
    silence(site.store.engine, 60)
    with pytest.raises(ConflictError, match="has not started since"):
        rows.require_returned("san-01")
    rows.beat(again, Doing.WAITING)
    assert rows.let_in("san-01").state == "waiting"
    rows.beat(again, Doing.STOPPED)
    assert states(rows) == {"san-01": ("stopped", False)}
    with pytest.raises(NotFoundError, match="no host is named 'san-09'"):
        rows.require_returned("san-09")


def test_a_second_controller_on_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "terra.db"
    with alone_with(file):
        with pytest.raises(TerraError, match="another controller works with this database") as caught, alone_with(file):
            pass
        assert "PostgreSQL" in caught.value.hint
    with alone_with(file), alone_with(tmp_path / "other.db"), alone_with(None):
        pass
    (tmp_path / "link.db.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TerraError, match="cannot be written"), alone_with(tmp_path / "link.db"):
        pass
    assert not (tmp_path / "elsewhere").exists()


def test_a_controller_has_the_name_of_its_machine_unless_it_is_given_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Machine:
        nodename = "SAN-07.example"

    monkeypatch.setattr("os.uname", Machine)
    assert own_of(Controller(), "", "file").name == "san-07.example"
    Machine.nodename = "localhost"
    assert own_of(Controller(), "", "file").name == "controller"
    first, second = (own_of(Controller(name=Hostname("san-01")), "", "file") for _ in range(2))
    assert first.name == second.name == "san-01"
    assert first.identity != second.identity


def test_locks_of_names_are_numbers_that_postgresql_has() -> None:
    numbers = [number for name in ("san-01", "san-02", "a", "b", "c") for number in name_lock(name)]
    assert all(-(2**31) <= number < 2**31 for number in numbers)
    assert name_lock("san-01") == name_lock("san-01") != name_lock("san-02")


@pytest.fixture
def client(site: Site) -> Iterator[TestClient[Any]]:
    with TestClient(make_api(site.context, TOKEN)) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        yield client


def test_hosts_are_listed_and_forgotten_by_the_api(client: TestClient[Any], rows: HostRows, site: Site) -> None:
    rows.announce(OWN, Doing.WORKING)
    (shown,) = read_answer(client.get("/v1/hosts").json(), tuple[HostShown, ...])
    assert (shown.name, shown.state, shown.leads, shown.url) == ("san-01", "working", True, OWN.url)
    assert (shown.portal, shown.store, shown.version) == ("10.0.10.4", "file", "1")
    assert shown.started <= shown.seen
    assert shown.seen.endswith("Z")
    assert client.delete("/v1/hosts/san-01").status_code == 409
    assert client.delete("/v1/hosts/san-09").status_code == 404
    silence(site.store.engine, 60)
    assert client.delete("/v1/hosts/san-01").json()["state"] == "silent"
    assert client.get("/v1/hosts").json() == []
    refused = client.post("/v1/hosts/san-01/unfence", json={})
    assert (refused.status_code, "does not move" in refused.json()["detail"]) == (409, True)
