"""What ``/metrics`` shows of an agent, in Prometheus's text format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from terra_core.service.operations import Operations
from terra_orbit.agent.health import Health
from terra_orbit.agent.overview import Overview
from terra_orbit.agent.store import Store

_HEALTH = {"healthy": 1, "unhealthy": 0}


class Metrics(Collector):
    """Containers by status, their usage, restarts and services; and operations.

    :param overview: the containers.
    :param store: their records.
    :param health: their services.
    :param operations: the operations.
    """

    def __init__(self, overview: Overview, store: Store, health: Health, operations: Operations) -> None:
        self._overview = overview
        self._store = store
        self._health = health
        self._operations = operations
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metrics without their values."""
        yield GaugeMetricFamily("orbit_containers", "Containers by status.", labels=["status"])
        yield GaugeMetricFamily("orbit_container_restarts", "How often a container was brought back.", labels=["id"])
        yield GaugeMetricFamily("orbit_container_memory_bytes", "Memory that a container uses.", labels=["id"])
        yield GaugeMetricFamily("orbit_container_pids", "Tasks of a container.", labels=["id"])
        yield GaugeMetricFamily("orbit_service_healthy", "Whether a checked service is well.", labels=["id", "service"])
        yield GaugeMetricFamily("orbit_operations", "Remembered operations by kind and state.", labels=["kind", "state"])

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metrics with their present values."""
        containers, restarts, memory, pids, services, operations = self.describe()
        rows = self._overview.all()
        for status, count in sorted(Counter(row["status"] for row in rows).items()):
            containers.add_metric([status], count)
        for row in rows:
            restarts.add_metric([row["id"]], row["restarts"])
            if row["memory"] is not None:
                memory.add_metric([row["id"]], row["memory"])
                pids.add_metric([row["id"]], row["pids"])
        for record in self._store.all():
            for service in self._health.of(record):
                if service["health"] in _HEALTH:
                    services.add_metric([record.id, service["name"]], _HEALTH[service["health"]])
        kinds = Counter((shown["kind"], shown["state"]) for shown in (one.as_json() for one in self._operations.all()))
        for (kind, state), count in sorted(kinds.items()):
            operations.add_metric([kind, state], count)
        yield from (containers, restarts, memory, pids, services, operations)
