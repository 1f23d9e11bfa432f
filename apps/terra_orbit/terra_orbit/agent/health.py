"""Whether the services of containers are healthy, checked from within their own networks."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import structlog
from attrs import frozen

from terra_core.errors import words_of
from terra_core.system.deadline import Deadline
from terra_core.system.namespaces import in_network
from terra_core.system.processes import Process
from terra_orbit.agent.links import network_of
from terra_orbit.agent.records import Attachment, Record, State
from terra_orbit.agent.store import Store
from terra_orbit.vhost import Check, Service

_log = structlog.get_logger(__name__)
_JOBS = 8
_LOOPBACK = "127.0.0.1"
_LONGEST_REASON = 200


@frozen(kw_only=True)
class Finding:
    """The result of a check of a service.

    :param well: whether it is well.
    :param reason: why it is not.
    :param at: when, in seconds of the monotonic clock.
    """

    well: bool
    reason: str
    at: float


class Health:
    """The checks of one agent's containers.

    :param store: the containers.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._findings: dict[tuple[str, str], Finding] = {}
        self._asking: set[tuple[str, str]] = set()
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(_JOBS, thread_name_prefix="health")

    def close(self) -> None:
        """Wait for the checks that are under way."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def look(self) -> None:
        """Begin every check whose time has come."""
        records = [record for record in self._store.all() if record.state is State.RUNNING]
        wanted = {
            (record.uid, name): (record, service)
            for record in records
            for name, service in record.current.vhost.services.items()
            if service.check is not None
        }
        with self._lock:
            for key in [key for key in self._findings if key not in wanted]:
                del self._findings[key]
        if not wanted:
            return
        attachments = self._store.all_attachments()
        for key, (record, service) in wanted.items():
            self._begin(key, record, service, attachments.get(record.uid, []))

    def of(self, record: Record) -> list[dict[str, Any]]:
        """Return the services of a container, with what was found of each."""
        return [self._shown(record, name, service) for name, service in record.current.vhost.services.items()]

    def _shown(self, record: Record, name: str, service: Service) -> dict[str, Any]:
        with self._lock:
            finding = self._findings.get((record.uid, name))
        health = "" if service.check is None else "starting" if finding is None else "healthy" if finding.well else "unhealthy"
        shown = {"name": name, "port": service.port, "protocol": service.protocol, "labels": list(service.labels)}
        return {**shown, "health": health, "reason": finding.reason if finding else ""}

    def _begin(self, key: tuple[str, str], record: Record, service: Service, attachments: Sequence[Attachment]) -> None:
        check = service.check
        if check is None:
            return
        with self._lock:
            last = self._findings.get(key)
            if key in self._asking or (last and time.monotonic() - last.at < check.interval):
                return
            self._asking.add(key)
        self._pool.submit(self._ask, key, record, service, check, attachments)

    def _ask(
        self, key: tuple[str, str], record: Record, service: Service, check: Check, attachments: Sequence[Attachment]
    ) -> None:
        finding = None
        try:
            reason = self._reason(record, service, check, attachments)
            if reason is not None:
                finding = Finding(well=not reason, reason=reason, at=time.monotonic())
        except (OSError, http.client.HTTPException) as error:
            finding = Finding(well=False, reason=words_of(error)[:_LONGEST_REASON], at=time.monotonic())
        except Exception as error:  # the boundary of the thread
            _log.error("defect", exc_info=error)
        with self._lock:
            self._asking.discard(key)
            if finding is None:
                self._findings.pop(key, None)
            else:
                self._findings[key] = finding

    def _reason(self, record: Record, service: Service, check: Check, attachments: Sequence[Attachment]) -> str | None:
        """Return why a service fails its check; an empty string if it passes, ``None`` while its container is not connected."""
        if record.current.vhost.on_host:
            return _try(_LOOPBACK, service.port, check)
        connected = next((one for one in attachments if one.addresses and Process(one.pid, one.started).alive), None)
        if connected is None:
            return None
        with in_network(Path(network_of(connected.pid))):
            return _try(connected.addresses[0].partition("/")[0], service.port, check)


def _try(address: str, port: int, check: Check) -> str:
    """Return why a service fails its check; an empty string when it does not."""
    if check.type == "tcp":
        socket.create_connection((address, port), timeout=check.timeout).close()
        return ""
    connection = http.client.HTTPConnection(address, port, timeout=check.timeout)

    def cut() -> None:
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)

    try:
        # The library's own limit is for each read: a service that sends a byte now and then would hold this thread for ever.
        with Deadline(check.timeout, cut) as deadline:
            connection.request("GET", check.path)
            status = connection.getresponse().status
    except (OSError, http.client.HTTPException):
        if not deadline.passed:
            raise
    finally:
        connection.close()
    if deadline.passed:
        return f"it has not answered to GET {check.path} within {check.timeout} s"
    return "" if status < 400 else f"it answers {status} to GET {check.path}"
