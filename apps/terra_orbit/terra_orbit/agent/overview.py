"""What ``ob list`` and ``ob get`` show: the records, with the present state of their containers."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from terra_core.errors import NotFoundError, TerraError
from terra_orbit.agent.connections import interface_addresses
from terra_orbit.agent.containers import Containers
from terra_orbit.agent.engine import Found
from terra_orbit.agent.health import Health
from terra_orbit.agent.records import Attachment, Record, State
from terra_orbit.agent.supervision import Supervision
from terra_orbit.agent.usage import Usage, read_usage

_FRESH_SECONDS = 0.5


class Overview:
    """What an agent shows of its containers.

    :param containers: the containers.
    :param supervision: the thread that restarts them.
    :param health: what their services' checks found.
    """

    def __init__(self, containers: Containers, supervision: Supervision, health: Health) -> None:
        self._containers = containers
        self._supervision = supervision
        self._health = health
        self._lock = threading.Lock()
        self._usage: dict[str, Usage] = {}
        self._sizes: dict[str, int] = {}
        self._pids: dict[str, tuple[str, int]] = {}

    def all(self) -> list[dict[str, Any]]:
        """Return every container, a row each."""
        store = self._containers.store
        records, attachments = store.all(), store.all_attachments()
        found, problem = self._found()
        return [self._row(record, attachments.get(record.uid, []), found.get(record.uid, []), problem) for record in records]

    def one(self, name: str) -> dict[str, Any]:
        """Return one container with all that is known of it.

        :raises NotFoundError: when there is none of this id.
        """
        record = self._containers.store.get(name)
        attachments = self._containers.store.attachments(record)
        found, problem = self._found()
        own = found.get(record.uid, [])
        row = self._row(record, list(attachments), own, problem)
        current = next((one for one in own if one.revision == record.revision), None)
        process = None
        if current is not None:
            try:
                process = self._containers.engine.process(current.engine_id)
            except TerraError:
                process = None
        return {
            **row,
            "uid": record.uid,
            "image_id": record.current.image,
            "revision": record.revision,
            "created": record.created,
            "pid": process.pid if process else 0,
            "health": self._health_of(record, process.health if process else ""),
            "networks": [_network(attachment) for attachment in attachments],
            "services": self._health.of(record),
            "history": [
                {"revision": one.number, "image": str(one.vhost.image), "created": one.created} for one in record.revisions
            ],
            "config": record.current.document,
        }

    def sample(self) -> None:
        """Remember what is used now, so that the next look can say how much was used since; measure what has no size yet."""
        records = {record.uid: record for record in self._containers.store.all()}
        found, _ = self._found()
        for uid, ones in found.items():
            current = next((one for one in ones if uid in records and one.revision == records[uid].revision), None)
            if current is not None:
                self._sample(uid, current)
        with self._lock:
            for known in (self._usage, self._sizes, self._pids):
                for uid in [uid for uid in known if uid not in records]:
                    del known[uid]

    def measure(self) -> None:
        """Measure how much each container has written, one after the other: the engine walks over all its files."""
        for uid, ones in self._found()[0].items():
            for one in ones:
                if one.running:
                    try:
                        size = self._containers.engine.size(one.engine_id)
                    except TerraError:
                        continue
                    with self._lock:
                        self._sizes[uid] = size

    def _found(self) -> tuple[Mapping[str, list[Found]], str]:
        found: dict[str, list[Found]] = {}
        try:
            for one in self._containers.engine.all():
                found.setdefault(one.uid, []).append(one)
        except TerraError as error:
            return {}, error.message
        return found, ""

    def _row(self, record: Record, attachments: list[Attachment], found: list[Found], problem: str) -> dict[str, Any]:
        current = next((one for one in found if one.revision == record.revision), None)
        running = current is not None and current.running
        usage = self._read(record, current) if current is not None and running else None
        with self._lock:
            size = self._sizes.get(record.uid)
        return {
            "id": record.id,
            "image": str(record.current.vhost.image),
            "status": self._status(record, running, attachments, problem),
            "addresses": ["host"] if record.current.vhost.on_host else [one for a in attachments for one in a.addresses],
            "cpu": usage[1] if usage else None,
            "memory": usage[0].memory if usage else None,
            "pids": usage[0].pids if usage else None,
            "size": size,
            "revisions": len(record.revisions),
            "restarts": record.restarts,
            "problem": problem or record.problem or self._supervision.trouble(record),
        }

    def _status(self, record: Record, running: bool, attachments: list[Attachment], problem: str) -> str:
        if problem:
            return "unknown"
        if record.state is State.DELETING:
            return "deleting"
        if record.state is State.STOPPED:
            return "stopping" if running else "stopped"
        if running:
            return "running" if self._containers.connections.attached(record, attachments) else "connecting"
        return "waiting" if self._supervision.paused(record) else "starting"

    def _health_of(self, record: Record, image: str) -> str:
        checks = [one["health"] for one in self._health.of(record) if one["health"]]
        states = [*([image] if image else []), *checks]
        return next((state for state in ("unhealthy", "starting", "healthy") if state in states), "")

    def _read(self, record: Record, found: Found) -> tuple[Usage, float] | None:
        """Return a container's usage, and its share of a processor in percent since the last look."""
        pid = self._pid(record.uid, found)
        now = read_usage(pid, found.engine_id) if pid else None
        if now is None:
            with self._lock:
                self._pids.pop(record.uid, None)
            return None
        with self._lock:
            before = self._usage.get(record.uid)
        if before is None or before.seconds > now.seconds or now.at - before.at < _FRESH_SECONDS:
            return now, 0.0
        return now, 100 * (now.seconds - before.seconds) / (now.at - before.at)

    def _sample(self, uid: str, found: Found) -> None:
        pid = self._pid(uid, found) if found.running else 0
        usage = read_usage(pid, found.engine_id) if pid else None
        if usage is None:
            with self._lock:
                self._pids.pop(uid, None)
                self._usage.pop(uid, None)
            return
        with self._lock:
            self._usage[uid] = usage

    def _pid(self, uid: str, found: Found) -> int:
        with self._lock:
            known = self._pids.get(uid)
        if known and known[0] == found.engine_id:
            return known[1]
        try:
            pid = self._containers.engine.process(found.engine_id).pid
        except (TerraError, NotFoundError):
            return 0
        with self._lock:
            self._pids[uid] = (found.engine_id, pid)
        return pid


def _network(attachment: Attachment) -> dict[str, Any]:
    return {
        "interface": attachment.interface,
        "network": attachment.conf["name"],
        "type": attachment.conf["type"],
        "mac": attachment.mac,
        "addresses": list(interface_addresses(attachment) or attachment.addresses),
    }
