"""What ``/metrics`` shows of a controller, in Prometheus's text format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from terra_core.controller.records import SET_ASIDE
from terra_core.controller.store import Record, SetAside, Store
from terra_core.service.operations import Operations


class Metrics(Collector):
    """Machines by state and operations by kind and state, read when they are asked for.

    :param store: the machines.
    :param operations: the operations.
    """

    def __init__(self, store: Store, operations: Operations) -> None:
        self._store = store
        self._operations = operations
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metrics without their values."""
        yield GaugeMetricFamily("terra_nodes", "Machines by state.", labels=["state"])
        yield GaugeMetricFamily("terra_operations", "Remembered operations by kind and state.", labels=["kind", "state"])

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metrics with their present values."""
        nodes, operations = self.describe()
        states = Counter(_state(record) for record in self._store.every())
        for state, count in sorted(states.items()):
            nodes.add_metric([state], count)
        yield nodes
        kinds = Counter((shown["kind"], shown["state"]) for shown in (one.as_json() for one in self._operations.all()))
        for (kind, state), count in sorted(kinds.items()):
            operations.add_metric([kind, state], count)
        yield operations


def _state(record: Record | SetAside) -> str:
    if isinstance(record, SetAside):
        return SET_ASIDE
    return "quarantined" if record.problem else record.state.value
