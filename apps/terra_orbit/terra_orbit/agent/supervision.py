"""Supervising containers: those that end are restarted, and what an engine or a DHCP daemon lost is made again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import structlog
from attrs import define
from docker.errors import DockerException
from requests import RequestException

from terra_core.errors import ConflictError, NotFoundError, TerraError
from terra_orbit.agent.containers import Containers
from terra_orbit.agent.engine import Found
from terra_orbit.agent.moves import Moves
from terra_orbit.agent.records import Attachment, Record, State
from terra_orbit.agent.rendering import LABEL_AGENT

_log = structlog.get_logger(__name__)
_LOOK_SECONDS = 3.0
_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 60.0
_SETTLED_SECONDS = 30.0
"""Seconds of running after which a container is restarted without a pause."""
_TROUBLE_SECONDS = 2.0
"""A pause of so many seconds means that a container has ended at least three times, each time soon after its start."""
_EVENTS = ["die", "start", "destroy"]
_JOBS = 4


@define
class _Pause:
    """How long to wait before a container is restarted."""

    seconds: float = 0.0
    due: float = 0.0
    since: float = 0.0
    end: str = ""

    def settled(self, now: float) -> bool:
        return bool(self.since) and now - self.since > _SETTLED_SECONDS

    def lengthen(self, now: float) -> None:
        self.seconds = 0.0 if self.settled(now) else min(_LONGEST_PAUSE, max(_FIRST_PAUSE, self.seconds * 2))
        self.due = now + self.seconds
        self.since = 0.0


class Supervision:
    """The thread that keeps an agent's containers running.

    :param containers: the containers.
    :param moves: those that are on their way to another agent.
    """

    def __init__(self, containers: Containers, moves: Moves) -> None:
        self._containers = containers
        self._moves = moves
        self._pauses: dict[str, _Pause] = {}
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._pool = ThreadPoolExecutor(_JOBS, thread_name_prefix="supervision")
        self._lock = threading.Lock()
        self._working: set[str] = set()
        self.engine_problem = ""

    @contextmanager
    def running(self) -> Iterator[None]:
        """Look after them for as long as the block lasts."""
        threads = [threading.Thread(target=work, name=work.__name__, daemon=True) for work in (self._watch, self._listen)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            self._wake.set()
            threads[0].join()
            self._pool.shutdown(wait=True)

    def look(self) -> None:
        """Look at everything once, and have done what has to be."""
        engine, store = self._containers.engine, self._containers.store
        # The records first: a container that is made between the two looks has a record by then.
        records = {record.uid: record for record in store.all()}
        attachments = store.all_attachments()
        found: dict[str, list[Found]] = {}
        for one in engine.all():
            found.setdefault(one.uid, []).append(one)
        self.engine_problem = ""
        for record in records.values():
            if self._needs_work(record, found.get(record.uid, []), attachments):
                self._see_to(record)
        strangers = [one for uid, ones in found.items() if uid not in records for one in ones]
        self._remove(strangers)
        self._containers.connections.keep_up()

    def paused(self, record: Record) -> float:
        """Return for how many seconds more a container is left stopped before it is restarted; 0 when it is not."""
        with self._lock:
            pause = self._pauses.get(record.uid)
        return max(0.0, pause.due - time.monotonic()) if pause else 0.0

    def trouble(self, record: Record) -> str:
        """Return how a container ended that keeps ending; an empty string when it has settled."""
        with self._lock:
            pause = self._pauses.get(record.uid)
            if pause is None or pause.seconds < _TROUBLE_SECONDS or pause.settled(time.monotonic()):
                return ""
            return pause.end

    def _watch(self) -> None:
        while not self._ended.is_set():
            try:
                self.look()
            except TerraError as error:
                if error.message != self.engine_problem:
                    _log.error("the containers cannot be looked after", reason=str(error))
                self.engine_problem = error.message
            except Exception as error:  # the boundary of the thread: no defect may end it
                _log.error("defect", exc_info=error)
            self._wake.wait(_LOOK_SECONDS)
            self._wake.clear()

    def _listen(self) -> None:
        """Look at once when the engine says that something happened; without it, the regular look has to do."""
        while not self._ended.is_set():
            label = f"{LABEL_AGENT}={self._containers.store.agent}"
            with (
                suppress(TerraError, DockerException, RequestException, OSError, ValueError),
                self._containers.engine.streaming() as client,
            ):
                for event in client.events(decode=True, filters={"type": "container", "label": label, "event": _EVENTS}):
                    if self._ended.is_set():
                        return
                    if event.get("status") == "die":
                        self._wake.set()
            self._ended.wait(1)

    def _needs_work(self, record: Record, found: list[Found], attachments: Mapping[str, list[Attachment]]) -> bool:
        running = {one.revision for one in found if one.running}
        if record.state is State.DELETING:
            return True
        own = attachments.get(record.uid, [])
        if record.state is State.STOPPED:
            return bool(running or own or record.move)
        right = running == {record.revision} and self._containers.connections.attached(record, own)
        if right:
            with self._lock:
                pause = self._pauses.get(record.uid)
                if pause and not pause.since:
                    pause.since = time.monotonic()
        return not right

    def _see_to(self, record: Record) -> None:
        now = time.monotonic()
        with self._lock:
            pause = self._pauses.setdefault(record.uid, _Pause(since=now - 2 * _SETTLED_SECONDS))
            if record.uid in self._working or now < pause.due:
                return
            self._working.add(record.uid)
        self._pool.submit(self._mend, record, pause)

    def _mend(self, record: Record, pause: _Pause) -> None:
        try:
            with self._containers.claim(record.id):
                self._bring_back(record, pause)
        except ConflictError:
            return  # a command works on it
        except TerraError as error:
            _log.warning("a container cannot be kept up", container=record.id, reason=str(error))
            with suppress(TerraError):
                self._containers.store.change(record, problem=error.message)
        except Exception as error:  # the boundary of the thread: the next look tries again
            _log.error("defect", container=record.id, exc_info=error)
        finally:
            with self._lock:
                self._working.discard(record.uid)

    def _bring_back(self, seen: Record, pause: _Pause) -> None:
        store = self._containers.store
        try:
            record = store.fresh(seen)
        except NotFoundError:
            return  # it is gone
        found = self._containers.engine.of(record.uid)
        if not self._needs_work(record, found, {record.uid: list(store.attachments(record))}):
            return
        end = self._containers.convergence.end_of(record, found)
        with self._lock:
            pause.lengthen(time.monotonic())
            pause.end = end or pause.end
        if record.move is not None:
            self._moves.settle(record)
        else:
            self._containers.convergence.bring(record, starting=self._count)

    def _count(self, record: Record) -> Record:
        """Count a restart before the container is started: it may end again between two looks at the engine."""
        counted = self._containers.store.change(record, restarts=record.restarts + 1)
        _log.info("brings back", container=counted.id, restarts=counted.restarts)
        return counted

    def _remove(self, strangers: list[Found]) -> None:
        """Remove this agent's containers that have no record: the rest of a look into an image, or of a lost database."""
        for one in strangers:
            if one.uid == "probe" and not one.running and one.engine_id in self._seen_before:
                self._containers.engine.remove(one.engine_id)
        self._seen_before = {one.engine_id for one in strangers}

    _seen_before: set[str] = set()  # noqa: RUF012  # replaced, never changed
