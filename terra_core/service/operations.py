"""Long work that a client asked for: it runs in a thread, tells its progress to whoever listens, and can be cancelled."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import structlog
from attrs import asdict, frozen

from terra_core.errors import InterruptedWork, NotFoundError, TerraError, UnavailableError, words_of
from terra_core.service import audit
from terra_core.service.bell import Bell
from terra_core.service.durations import Durations
from terra_core.service.problems import describe, problem_of
from terra_core.system.process import interruption
from terra_core.system.progress import Event, Report

_log = structlog.get_logger(__name__)
_KEPT = 200
_SHARED = 64
"""So many operations run at once of those whose work is shared with other hosts."""
_PAUSE_SECONDS = 0.05
"""The seconds between two looks of a follower, so that many messages are sent at once."""

Work = Callable[[Report], Mapping[str, Any]]


@frozen
class Message:
    """Something that an operation says.

    :param kind: ``progress``, and at last ``result`` or ``problem``.
    :param data: the event, the result, or the problem document.
    """

    kind: str
    data: Mapping[str, Any]


def origin_of(identity: str) -> str:
    """Return the host that does an operation, by the id of that; an empty string where the id does not say."""
    return identity.rpartition(".")[0]


class Operation:
    """One piece of long work.

    :param kind: what it does, such as ``provision``.
    :param subject: what it does it to.
    :param change: what the audit log has of it; ``None`` where none is kept.
    :param origin: the host that does it, where others may be asked for it; see :func:`origin_of`.
    """

    def __init__(self, kind: str, subject: str, change: audit.Change | None = None, origin: str = "") -> None:
        self._change = change
        self.id = f"{origin}.{secrets.token_urlsafe(12)}" if origin else secrets.token_urlsafe(12)
        self.kind = kind
        self.subject = subject
        self.outcome: Message | None = None
        self._lock = threading.Lock()
        self._number = 0
        self._messages: dict[object, tuple[int, Message]] = {}  # numbered, in the order in which they came
        self._bell = Bell()
        self._cancelled = threading.Event()

    def cancel(self) -> None:
        """Ask the work to end and to undo what it did."""
        self._cancelled.set()

    def cancelled(self) -> bool:
        """Return whether the work was asked to end."""
        return self._cancelled.is_set()

    def report(self, event: Event) -> None:
        """Handle an event of the work.

        :raises InterruptedWork: when the work was asked to end.
        """
        if self.cancelled():
            raise self.interrupted()
        # A pull reports its progress thousands of times: only the last report of a step is kept.
        self._say(Message("progress", asdict(event)), (event.step, event.text) if event.done is not None else None)

    def interrupted(self) -> InterruptedWork:
        """Return the error with which the work ends after it was asked to end."""
        return InterruptedWork(f"{self.kind} of {self.subject} was interrupted; all of it has been undone")

    def finish(self, outcome: Message) -> None:
        """Record the end of the work."""
        if self._change is not None:
            self._change.ended(str(outcome.data.get("detail", "")) if outcome.kind == "problem" else "")
        self.outcome = outcome
        self._say(outcome)

    async def messages(self, patience: float) -> AsyncIterator[Message | None]:
        """Yield all messages of the work, past and future, to its end; None after each ``patience`` seconds without one.

        Of a counted step, only the last message is sent. Waiting takes no thread, so that any number can follow.
        """
        told = 0
        with self._bell.listening() as heard:
            while True:
                heard.clear()  # before the look: what comes after it rings again
                with self._lock:
                    fresh = [message for number, message in self._messages.values() if number > told]
                    told = self._number
                for message in fresh:
                    yield message
                    if message.kind != "progress":
                        return
                try:
                    async with asyncio.timeout(patience):
                        await heard.wait()
                except TimeoutError:
                    yield None
                else:
                    await asyncio.sleep(_PAUSE_SECONDS if self.outcome is None else 0)

    def as_json(self) -> dict[str, Any]:
        """Return the operation as the API gives it."""
        outcome = self.outcome
        state = {"result": "done", "problem": "failed"}[outcome.kind] if outcome else "running"
        return {"id": self.id, "kind": self.kind, "subject": self.subject, "state": state}

    def _say(self, message: Message, replaced: object = None) -> None:
        with self._lock:
            self._number += 1
            key = self._number if replaced is None else replaced
            self._messages.pop(key, None)  # so that the new message is the last one
            self._messages[key] = (self._number, message)
        self._bell.ring()


class Operations:
    """The operations of one daemon.

    :param jobs: how many run at once; further ones wait. As many removals run beside them.
    :param origin: the host that does them, where others may be asked for them.
    """

    def __init__(self, jobs: int, origin: str = "") -> None:
        self._origin = origin
        self._pool = ThreadPoolExecutor(jobs, thread_name_prefix="operation")
        self._removals = ThreadPoolExecutor(jobs, thread_name_prefix="removal")
        self._shared = ThreadPoolExecutor(_SHARED, thread_name_prefix="shared")
        self._ending = ThreadPoolExecutor(1, thread_name_prefix="ending")
        self._waiting: dict[str, tuple[Future[None], Work]] = {}
        self._known: OrderedDict[str, Operation] = OrderedDict()
        self._lock = threading.Lock()
        self._closed = ""
        self.durations = Durations()

    def start(self, kind: str, subject: str, work: Work, *, removal: bool = False, shared: bool = False) -> Operation:
        """Begin a piece of work, or queue it.

        :param work: does the work and returns its result; called with the report for its progress.
        :param removal: whether it only removes something: it waits for other removals, and never for work that waits for
            others.
        :param shared: whether other hosts do most of it; what this one does of it waits for turns by itself.
        :raises UnavailableError: when nothing is begun now.
        """
        operation = Operation(kind, subject, audit.carry_on(kind, subject), self._origin)
        pool = self._removals if removal else self._shared if shared else self._pool
        with self._lock:
            if self._closed:
                raise UnavailableError(self._closed, hint="try again in some seconds")
            self._known[operation.id] = operation
            self._drop_old()
            begin = copy_context().run
            queued = pool.submit(begin, self._begin, operation, work, time.monotonic())
            self._waiting[operation.id] = (queued, work)
        return operation

    def cancel(self, identity: str) -> Operation:
        """Ask an operation to end and to undo what it did; one that is still queued ends at once.

        :raises NotFoundError: when there is none of this id, or it ended long ago.
        """
        operation = self.get(identity)
        operation.cancel()
        with self._lock:
            waiting = self._waiting.get(identity)
            if waiting and waiting[0].cancel():
                del self._waiting[identity]
                self._ending.submit(copy_context().run, self._run, operation, waiting[1])
        return operation

    def get(self, identity: str) -> Operation:
        """Return the operation of this id.

        :raises NotFoundError: when there is none, or it ended long ago.
        """
        with self._lock:
            operation = self._known.get(identity)
        if operation is None:
            raise NotFoundError(f"no operation {identity!r}")
        return operation

    def knows(self, identity: str) -> bool:
        """Return whether there is an operation of this id."""
        with self._lock:
            return identity in self._known

    def all(self) -> list[Operation]:
        """Return every operation that is remembered, oldest first."""
        with self._lock:
            return list(self._known.values())

    def close(self, reason: str) -> None:
        """Begin nothing from now on, for a reason; with an empty one, begin again what is asked for."""
        with self._lock:
            self._closed = reason

    @property
    def busy(self) -> bool:
        """Whether any of them goes on, or waits for its turn."""
        with self._lock:
            return any(operation.outcome is None for operation in self._known.values())

    def waiting(self) -> list[Operation]:
        """Return those whose turn has not come yet, oldest first."""
        with self._lock:
            return [operation for identity, operation in self._known.items() if identity in self._waiting]

    def cancel_all(self) -> None:
        """Ask everything to end and to undo what it did."""
        for operation in self.all():
            self.cancel(operation.id)

    def stop(self) -> None:
        """Cancel everything, and wait until it has been undone."""
        self.cancel_all()
        self._pool.shutdown(wait=True)
        self._shared.shutdown(wait=True)
        self._removals.shutdown(wait=True)
        self._ending.shutdown(wait=True)

    def _begin(self, operation: Operation, work: Work, queued: float) -> None:
        with self._lock:
            self._waiting.pop(operation.id, None)
        self.durations.waited(operation.kind, time.monotonic() - queued)
        self._run(operation, work)

    def _run(self, operation: Operation, work: Work) -> None:
        def measured(report: Report) -> Mapping[str, Any]:
            with self.durations.measured(operation.kind, report) as watched:
                return work(watched)

        _run(operation, measured)

    def _drop_old(self) -> None:
        ended = [operation.id for operation in self._known.values() if operation.outcome]
        for identity in ended[: max(0, len(self._known) - _KEPT)]:
            del self._known[identity]


def _run(operation: Operation, work: Work) -> None:
    interruption.set(operation.cancelled)
    log = _log.bind(operation=operation.kind, subject=operation.subject)
    log.info("begins")
    try:
        outcome = Message("result", work(operation.report))
    except InterruptedWork as error:
        # The error names only what was interrupted, such as a program or a download.
        log.warning("failed", reason=str(error))
        outcome = Message("problem", describe(operation.interrupted() if operation.cancelled() else error))
    except Exception as error:  # the boundary of the thread: a defect must reach the client as a problem, not as silence
        if isinstance(error, (TerraError, OSError)):
            log.warning("failed", reason=words_of(error))
        else:
            log.error("defect", exc_info=error)
        outcome = Message("problem", problem_of(error))
    else:
        log.info("done")
    operation.finish(outcome)
