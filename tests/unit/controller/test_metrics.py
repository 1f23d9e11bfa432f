"""What ``/metrics`` shows, and the dashboard that queries it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from threading import Event as Flag
from typing import Any

import pytest
from litestar.testing import TestClient

from terra_core.controller.api import make_api
from terra_core.controller.hosts import Doing, HostRows, Own
from terra_core.errors import InterruptedWork, TerraError
from terra_core.hookspecs import Room
from terra_core.service.durations import Durations
from terra_core.service.operations import Operations
from terra_core.system.progress import Event, Report
from terra_core.system.waiting import wait_until
from tests.unit.controller.fakes import Site, node_table

TOKEN = "the-token-of-this-test"
DASHBOARD = Path(__file__).parents[3] / "monitoring/grafana-dashboard.json"
_METRIC = re.compile(r"\b(?:terra|process)_[a-z_]+\b")


@pytest.fixture
def client(site: Site) -> Iterator[TestClient[Any]]:
    with TestClient(make_api(site.context, TOKEN)) as client:
        client.headers["Authorization"] = f"Bearer {TOKEN}"
        yield client


def provision(client: TestClient[Any], site: Site) -> None:
    """Provision a machine by the API, and wait for the end of it."""
    identity = client.post("/v1/nodes", json=node_table()).json()["operation"]
    wait_until(lambda: site.operations.get(identity).outcome is not None, seconds=10, what="the machine")


def samples(client: TestClient[Any]) -> dict[str, float]:
    """Return every sample, by its name with its labels."""
    lines = [line for line in client.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def test_every_metric_of_the_dashboard_is_there(client: TestClient[Any], site: Site) -> None:
    provision(client, site)
    own = Own(name="san-01", identity="1", url="", portal="", store="", version="")
    HostRows(site.store.engine).announce(own, Doing.WORKING)
    (kept,) = site.store.get("cm-01").targets
    site.world.served[kept.target.id] = (1, 1)
    names = {name.partition("{")[0] for name in samples(client)}
    queries = [target["expr"] for panel in json.loads(DASHBOARD.read_text())["panels"] for target in panel["targets"]]
    asked = {name for query in queries for name in _METRIC.findall(query)}
    assert asked - names == set()
    histograms = ("_created", "_bucket", "_sum", "_count")
    assert {name for name in names if name.startswith("terra_") and not name.endswith(histograms)} <= asked


def test_provisioning_is_timed_by_step(client: TestClient[Any], site: Site) -> None:
    provision(client, site)
    found = samples(client)
    for step in ("pull", "check", "export", "publish", "sync"):
        assert found[f'terra_operation_step_seconds_count{{kind="provision",step="{step}"}}'] >= 1
    assert found['terra_operation_seconds_count{kind="provision",outcome="done"}'] == 1
    assert found['terra_operation_wait_seconds_count{kind="provision"}'] == 1


def test_what_waits_is_counted(site: Site, client: TestClient[Any]) -> None:
    begun, go_on = Flag(), Flag()

    def work(_: object) -> dict[str, Any]:
        begun.set()
        go_on.wait(10)
        return {}

    try:
        for number in range(5):
            site.operations.start("provision", f"cm-{number}", work)
        begun.wait(10)
        wait_until(lambda: len(site.operations.waiting()) == 3, seconds=5, what="two of five to begin")
        assert samples(client)['terra_operations_waiting{kind="provision"}'] == 3
    finally:
        go_on.set()
    wait_until(lambda: not site.operations.waiting(), seconds=10, what="the queue to be empty")
    assert samples(client)['terra_operations_waiting{kind="provision"}'] == 0


def test_bytes_served_are_told_by_machine(client: TestClient[Any], site: Site) -> None:
    provision(client, site)
    (kept,) = site.store.get("cm-01").targets
    site.world.served[kept.target.id] = (7000, 80)
    site.world.served[kept.target.id + 1] = (1, 1)  # somebody else's
    found = samples(client)
    assert found['terra_target_read_bytes_total{group="os",hostname="cm-01"}'] == 7000
    assert found['terra_target_written_bytes_total{group="os",hostname="cm-01"}'] == 80
    assert sum(name.startswith("terra_target_") and "_created" not in name for name in found) == 2


def test_a_storage_service_that_hangs_takes_no_other_number_away(client: TestClient[Any], site: Site) -> None:
    provision(client, site)
    site.world.fail.add("count_served")
    site.machines.troubles.note("storage", "it hangs")
    found = samples(client)
    assert found['terra_nodes{state="ready"}'] == 1
    assert found['terra_service_up{service="storage"}'] == 0
    assert found['terra_service_up{service="boot"}'] == 1


def test_the_store_says_what_is_promised_and_what_is_free(client: TestClient[Any], site: Site) -> None:
    site.world.room = Room(size=5000, free=4000, reserve=300)
    found = samples(client)
    assert [found[f"terra_store_{what}_bytes"] for what in ("size", "free", "reserve")] == [5000, 4000, 300]
    site.world.fail.add("measure_store")
    assert "terra_store_free_bytes" not in samples(client), "and the other numbers are there"
    site.world.fail.clear()
    site.world.room = None
    provision(client, site)
    found = samples(client)
    assert found["terra_store_promised_bytes"] == 128000 * 1024 * 1024
    assert 0 < found["terra_store_free_bytes"] <= found["terra_store_size_bytes"]


@pytest.mark.parametrize(
    ("error", "outcome"), [(TerraError("no"), "failed"), (InterruptedWork("asked"), "interrupted"), (KeyError("x"), "failed")]
)
def test_an_operation_that_fails_is_told_from_one_that_is_done(error: Exception, outcome: str) -> None:
    durations = Durations()
    told: list[Event] = []

    def work() -> None:
        with durations.measured("provision", told.append) as report:
            for step, text in (("pull", "one"), ("pull", "two"), ("apply", "three")):
                report(Event(step, text))
            raise error

    with pytest.raises(type(error)):
        work()
    assert [event.text for event in told] == ["one", "two", "three"]
    counts = {
        tuple(sample.labels.values()): sample.value
        for metric in durations.collect()
        for sample in metric.samples
        if sample.name.endswith("_count")
    }
    assert counts == {("provision", outcome): 1, ("provision", "pull"): 1, ("provision", "apply"): 1}


def test_an_operation_that_is_cancelled_in_the_queue_is_counted_too() -> None:
    operations = Operations(1)
    go_on = Flag()

    def wait(report: Report) -> dict[str, Any]:
        report(Event("pull", "x"))
        go_on.wait(10)
        return {}

    try:
        operations.start("provision", "cm-01", wait)
        second = operations.start("provision", "cm-02", wait)
        operations.cancel(second.id)
        wait_until(lambda: second.outcome is not None, seconds=10, what="the second one to end")
        assert second not in operations.waiting()
    finally:
        go_on.set()
        operations.stop()
