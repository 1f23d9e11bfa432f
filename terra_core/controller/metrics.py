"""What ``/metrics`` shows of a controller, in Prometheus's text format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version

import structlog
from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from terra_core.controller.hosts import Doing, HostRows
from terra_core.controller.services import Services
from terra_core.controller.states import States
from terra_core.controller.store import Record, SetAside
from terra_core.controller.troubles import Troubles
from terra_core.errors import TerraError
from terra_core.hookspecs import Boot, Served, Storage
from terra_core.hookspecs import Store as StoreRole
from terra_core.service.database_server import DatabaseAway
from terra_core.service.operations import Operations

_log = structlog.get_logger(__name__)
_MB = 1024 * 1024
_SERVICES = ("database", StoreRole.role, Storage.role, Boot.role, "controller")
"""The services that :class:`Troubles` may report."""


class Metrics(Collector):
    """Machines, operations, services, bytes served and the store's use, read when they are asked for.

    :param services: the controller's parts.
    :param operations: the operations.
    :param troubles: which services do not work.
    """

    def __init__(self, services: Services, operations: Operations, troubles: Troubles) -> None:
        self._services = services
        self._operations = operations
        self._troubles = troubles
        self.registry = CollectorRegistry()
        self.registry.register(self)
        self.registry.register(operations.durations)
        ProcessCollector(registry=self.registry)

    def describe(self) -> Iterator[Metric]:
        """Return nothing, so that neither database nor service is asked when this is registered."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics with their present values."""
        records = self._records()
        info = GaugeMetricFamily("terra_build_info", "The version of Terra that runs.", labels=["version"])
        info.add_metric([version("terra-core")], 1)
        yield info
        if records is not None:
            states: Counter[tuple[str, ...]] = Counter((word,) for word in States(self._services.store).words(records))
            yield _gauge("terra_nodes", "Machines by state.", ["state"], states)
        yield from self._work()
        troubles = self._troubles.services
        missing = {*troubles, *(["database"] if records is None else [])}
        up: dict[tuple[str, ...], float] = {(service,): service not in missing for service in _SERVICES}
        yield _gauge("terra_service_up", "Whether a service that machines need works.", ["service"], up)
        yield from self._room()
        if records is not None:
            promised = sum(volume.size for record in records for kept in record.every_target for volume in kept.target.volumes)
            yield _gauge("terra_store_promised_bytes", "The sizes of all machines' volumes.", [], {(): promised * _MB})
            yield from self._traffic(records)
            yield from self._hosts()

    def _records(self) -> Sequence[Record | SetAside] | None:
        """Return all records; ``None`` where the database does not answer, when the other numbers are needed all the more."""
        try:
            return self._services.store.every()
        except DatabaseAway:
            return None

    def _work(self) -> Iterator[Metric]:
        shown = [operation.as_json() for operation in self._operations.all()]
        kinds: Counter[tuple[str, ...]] = Counter((one["kind"], one["state"]) for one in shown)
        yield _gauge("terra_operations", "Remembered operations by kind and state.", ["kind", "state"], kinds)
        queue: dict[tuple[str, ...], float] = dict.fromkeys([("provision",), ("delete",)], 0.0)
        queue |= Counter((one.kind,) for one in self._operations.waiting())
        yield _gauge("terra_operations_waiting", "Operations whose turn has not come yet.", ["kind"], queue)

    def _hosts(self) -> Iterator[Metric]:
        there = [host for host in HostRows(self._services.store.engine).every() if host.state != Doing.STOPPED.value]
        silence: dict[tuple[str, ...], float] = {(host.own.name,): host.silence for host in there}
        yield _gauge("terra_host_silence_seconds", "How long ago a host was heard of that is not stopped.", ["host"], silence)
        leads: dict[tuple[str, ...], float] = {(host.own.name,): host.leads for host in there}
        yield _gauge("terra_host_leads", "Whether a host has the lead.", ["host"], leads)

    def _room(self) -> Iterator[Metric]:
        """Yield the room of the store, where it has a directory on this machine."""
        try:
            room = self._services.role(StoreRole).measure_store(self._services.session)
        except (OSError, TerraError):  # the other numbers are needed all the more then
            room = None
        if room is not None:
            yield _gauge("terra_store_size_bytes", "The size of the store of the volumes.", [], {(): room.size})
            yield _gauge("terra_store_free_bytes", "What is free in the store of the volumes.", [], {(): room.free})
            said = "What has to be free there for a machine to be made."
            yield _gauge("terra_store_reserve_bytes", said, [], {(): room.reserve})

    def _traffic(self, records: Sequence[Record | SetAside]) -> Iterator[Metric]:
        """Yield the bytes that machines have read and written; the counters of a new session begin at 0."""
        labels = ["hostname", "group"]
        read = CounterMetricFamily("terra_target_read_bytes", "Bytes that a machine has read from a target.", labels=labels)
        written = CounterMetricFamily("terra_target_written_bytes", "Bytes that a machine has written to it.", labels=labels)
        served = {name: self._served(name) for name in {kept.storage for one in records for kept in one.every_target}}
        for record in records:
            for kept in record.every_target:
                found = served[kept.storage].get(kept.target.id)
                if found is not None:
                    read.add_metric([record.hostname, kept.target.label], found.read)
                    written.add_metric([record.hostname, kept.target.label], found.written)
        yield read
        yield written

    def _served(self, name: str) -> Mapping[int, Served]:
        session = self._services.session
        try:
            return self._services.plugins.named(Storage, name, source=session.source).count_served(session)
        except TerraError as error:  # the other numbers are needed all the more then
            _log.warning("a storage service does not say what it served", plugin=name, reason=str(error))
            return {}


def _gauge(name: str, said: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    gauge = GaugeMetricFamily(name, said, labels=labels)
    for words, value in sorted(values.items()):
        gauge.add_metric(words, float(value))
    return gauge

