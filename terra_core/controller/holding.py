"""Having a lease while its work is done: it is extended every second, and who has lost it ends the work and undoes it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import structlog
from attrs import asdict

from terra_core.controller.leases import Lease, LeaseLost, WorkRows
from terra_core.errors import InterruptedWork, TerraError
from terra_core.service.running import watching
from terra_core.system.process import interruption
from terra_core.system.progress import Event, Report
from terra_core.system.undo import Undo

_log = structlog.get_logger(__name__)
BEAT_SECONDS = 1.0
_AGAIN_SECONDS = 0.5
_MOST_EVENTS = 200
"""So many events of a piece of work are kept; those that only count are one each."""


class Unsure(LeaseLost):
    """The end of the work was said, and whether the database has it is not known: what was made stays."""


class Holding:
    """A lease that this process has. The work is done by one thread, and another one extends the lease meanwhile.

    :param rows: the queue.
    :param lease: as it was taken.
    :param report: is told of the work here; where it is ``None``, the events go to the leader by the row of the lease.
    :param ending: whether this process is to end.
    """

    def __init__(
        self, rows: WorkRows, lease: Lease, report: Report | None = None, ending: Callable[[], bool] = lambda: False
    ) -> None:
        self._rows, self._lease, self._to, self._ending = rows, lease, report, ending
        self._lost, self._over = threading.Event(), False
        self._speaking, self._extending = threading.Lock(), threading.Lock()
        self._events: dict[object, dict[str, Any]] = {}
        self._told = self._number = 0

    @property
    def lease(self) -> Lease:
        """The lease, as it is now."""
        return self._lease

    @property
    def must_end(self) -> bool:
        """Whether the work has to end: the lease is lost, or this process ends."""
        return self._lost.is_set() or self._ending()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Extend the lease for as long as a block lasts, and end programs in the block once the work has to end."""
        former = interruption.get()
        token = interruption.set(lambda: self.must_end or (former is not None and former()))
        with Undo() as undo:
            undo.callback(interruption.reset, token)
            undo.enter_context(watching(self.beat, seconds=BEAT_SECONDS))
            yield

    def report(self, event: Event) -> None:
        """Handle an event of the work.

        :raises InterruptedWork: when the work has to end.
        """
        if self.must_end:
            raise InterruptedWork(f"{self._lease.kind} of {self._lease.subject} was interrupted")
        if self._to is not None:
            self._to(event)
            return
        with self._speaking:
            self._number += 1
            key = self._number if event.done is None else (event.step, event.text)
            self._events.pop(key, None)  # so that the new one is the last one
            self._events[key] = {"number": self._number, **asdict(event)}
            for former in list(islice(self._events, max(len(self._events) - _MOST_EVENTS, 0))):
                del self._events[former]

    def beat(self) -> None:
        """Extend the lease, and tell the leader what came to be told; called every second."""
        with self._speaking:
            events, number = list(self._events.values()), self._number
        try:
            self._extend(**({"events": events} if number != self._told else {}))
            self._told = number
        except LeaseLost as error:
            if not (self._over or self._lost.is_set()):
                _log.warning("ends its work, and undoes it", reason=error.message)
                self._lost.set()
        except Exception as error:  # the boundary of the thread: the lease holds for a while, and then the work ends
            if not isinstance(error, TerraError):  # it is, where the database does not answer
                _log.error("defect", exc_info=error)
            if not self._lease.holds:
                self._lost.set()

    def will_make(self, made: Mapping[str, Any]) -> None:
        """Write down what is made in the store from now on, by which it can be removed again.

        :raises LeaseLost: when the lease is lost: nothing may be made.
        """
        self._extend(made=made)

    def finish(self, said: Mapping[str, Any], stack: Undo) -> None:
        """Say that the work is done, and what has come of it.

        :param stack: what undoes the work where this fails. It does nothing where the leader may have taken over what was made.
        :raises LeaseLost: when the lease was lost before.
        :raises Unsure: when the database has not said whether it was.
        """
        with self._speaking:
            self._over, events = True, list(self._events.values())
        unheard: TerraError | None = None
        while True:
            try:
                self._rows.finish(self._lease, said, events=events)
            except LeaseLost:
                if unheard is None:
                    raise
                break  # which does not tell whether an earlier word was heard
            except TerraError as error:
                if unheard is not None and not self._lease.holds:
                    break
                unheard = unheard or error
                threading.Event().wait(_AGAIN_SECONDS)
            else:
                return
        stack.pop_all().close()  # without an error, so that nothing is undone
        what = f"{self._lease.kind} of {self._lease.subject}"
        raise Unsure(f"whether {what} is done is not known: {unheard.message}") from unheard

    def fail(self, document: Mapping[str, Any]) -> None:
        """Say why the work failed, which is undone.

        :raises TerraError: when that cannot be said.
        """
        with self._speaking:
            self._over, events = True, list(self._events.values())
        self._rows.finish(self._lease, document, events=events, failed=True)

    def let_go(self) -> None:
        """Say that nothing is done here any more, also of a lease that is lost: somebody else may do it at once.

        :raises TerraError: when the database does not answer.
        """
        self._over = True
        self._rows.let_go(self._lease)

    def _extend(self, **told: Any) -> None:
        with self._extending:
            if self._lost.is_set():
                raise LeaseLost(f"the lease of {self._lease.kind} of {self._lease.subject} is lost")
            if not self._over:
                self._lease = self._rows.extend(self._lease, **told)
