"""Having work done by whoever may: the leader queues it, does it itself where it has a turn free, and adopts what was made."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, Protocol

import structlog
from attrs import frozen
from sqlalchemy import Connection

from terra_core.client.connection import error_of
from terra_core.config.structure import structure
from terra_core.controller.holding import Holding
from terra_core.controller.hosts import Doing, HostRows, Own
from terra_core.controller.leases import MOST_ATTEMPTS, LeaseLost, Outcome, Remains, Stage, WorkRows
from terra_core.errors import InterruptedWork, TerraError, UnavailableError
from terra_core.service.database_server import DatabaseAway
from terra_core.system.process import interruption
from terra_core.system.progress import Event, Report
from terra_core.system.undo import Undo
from terra_core.system.waiting import WaitedInVain, wait_until

_log = structlog.get_logger(__name__)
_STEP = "share"
_LOOK_SECONDS = 0.25
_HOSTS_SECONDS = 3.0
_AWAY_SECONDS = 60.0
"""So long the database may be away while somebody else works for this host."""
_UNDOING_SECONDS = 20.0
"""So long who does work that is not wanted any more has time to say that it is undone."""
_SILENT_SECONDS = 60.0
"""Who has lost a lease for so long may be gone for good, and what it has open is closed by then."""
_AGAIN_SECONDS = 600.0


@frozen(kw_only=True)
class Task:
    """A piece of work.

    :param kind: what is to be done.
    :param subject: to what; the same is asked for once.
    :param data: what it takes for that.
    :param said: what it is, for a person.
    :param here: does it in this process.
    """

    kind: str
    subject: str
    data: Mapping[str, Any]
    said: str
    here: Callable[[Holding], None]


class Sharing(Protocol):
    """Who does the work of a controller.

    :cvar shares: whether there may be other hosts on the same database.
    :cvar helped: whether some are there that take work of this one's, as of the last look.
    """

    shares: bool
    helped: bool

    def done(self, task: Task, report: Report) -> AbstractContextManager[Outcome]:
        """Have a task done, and offer what has come of it, to be adopted by :meth:`adopt`; otherwise it is undone.

        :raises TerraError: why it could not be done.
        """

    def adopt(self, connection: Connection, outcome: Outcome) -> None:
        """Take what was made, in the transaction that writes it down elsewhere."""

    def turn(self, report: Report) -> AbstractContextManager[None]:
        """Offer a turn for work that only this host can do: so many at once as ``jobs`` of controller.toml says."""

    def tokens(self) -> Collection[str]:
        """Return the names of golden volumes that are being made, or have to be removed still."""

    def begin(self) -> None:
        """Want no work any more that who led before has asked for; called before anything is asked for here."""

    def clear(self, remove: Callable[[Remains], None]) -> None:
        """Remove what work has left that is over; what fails is tried again later.

        :param remove: removes it; does nothing where there is nothing.
        """


class Alone:
    """A controller that does all of its work itself."""

    shares = helped = False

    def done(self, task: Task, report: Report) -> AbstractContextManager[Outcome]:
        """Refuse: nobody else is there."""
        raise TerraError(f"nobody else could do it: {task.said}")

    def adopt(self, connection: Connection, outcome: Outcome) -> None:
        """Do nothing: nothing was made elsewhere."""

    def turn(self, report: Report) -> AbstractContextManager[None]:
        """Offer a turn at once: its operations wait for each other."""
        return nullcontext()

    def tokens(self) -> Collection[str]:
        """Return none."""
        return ()

    def begin(self) -> None:
        """Do nothing: there is no queue."""

    def clear(self, remove: Callable[[Remains], None]) -> None:
        """Do nothing, as above."""


class Shared:
    """A controller beside others on one database and one store. May be used from several threads.

    :param rows: the queue.
    :param hosts: the controllers.
    :param own: this one.
    :param jobs: how many pieces of work are done here at once.
    """

    shares = True

    def __init__(self, rows: WorkRows, hosts: HostRows, own: Own, jobs: int) -> None:
        self._rows, self._hosts, self._own = rows, hosts, own
        self._turns = threading.BoundedSemaphore(jobs)
        self._putting = threading.Lock()
        self._asked = set[int]()
        self._looked = -_HOSTS_SECONDS
        self._not_before: dict[tuple[int, int, bool], float] = {}
        self._owed: list[Holding] = []
        self.helped = False

    def look(self, *, leads: bool) -> None:
        """See every few seconds whether others are there who take work: none is put where nobody would.

        :param leads: whether this host does.
        :raises TerraError: when the database does not answer.
        """
        while self._owed:
            self._owed[0].let_go()
            del self._owed[0]
        if not leads:
            self.helped, self._looked = False, -_HOSTS_SECONDS
        elif time.monotonic() - self._looked >= _HOSTS_SECONDS:
            self._looked = time.monotonic()
            alike = (self._own.store, self._own.version)
            self.helped = any(
                (host.own.store, host.own.version) == alike
                for host in self._hosts.every()
                if host.runs and host.state == Doing.WAITING.value and host.own.name != self._own.name
            )

    def let_go(self, holding: Holding) -> None:
        """Say that nothing is done here for a lease any more; later, where the database does not answer now."""
        try:
            holding.let_go()
        except TerraError:
            self._owed.append(holding)

    @contextmanager
    def done(self, task: Task, report: Report) -> Iterator[Outcome]:
        """Have a task done; see :meth:`Sharing.done`."""
        with self._putting:  # so that nobody takes it for work that nobody waits for
            number = self._rows.put(task.kind, task.subject, task.data)
            self._asked.add(number)
        with Undo() as undo:
            undo.callback(self._asked.discard, number)
            undo.when_failing(self._drop, number)
            yield self._waited_for(number, task, report)

    def adopt(self, connection: Connection, outcome: Outcome) -> None:
        """Take what was made, in the transaction that writes it down elsewhere."""
        self._rows.adopt(connection, outcome)

    @contextmanager
    def turn(self, report: Report) -> Iterator[None]:
        """Offer a turn; who waits for it can be interrupted."""
        while not self._turns.acquire(timeout=_LOOK_SECONDS):
            report(Event(_STEP, "wait for a turn on this host", 0, 1))
        with Undo() as undo:
            undo.callback(self._turns.release)
            yield

    def tokens(self) -> Collection[str]:
        """Return the names of golden volumes that are being made, or have to be removed still."""
        return {str(made.get("token", "")) for made in self._rows.made()}

    def begin(self) -> None:
        """Want no work any more that who led before has asked for; who does it finds out, and undoes it."""
        with self._putting:
            self._asked.clear()
        self._drop_unasked()

    def clear(self, remove: Callable[[Remains], None]) -> None:
        """Remove what work has left that is over; what fails is tried again some minutes later."""
        self._drop_unasked()
        for one in self._rows.remains():
            key = (one.number, one.attempt, one.may_go_on)  # once its process has ended, it is looked at again at once
            if (one.may_go_on and one.silence < _SILENT_SECONDS) or time.monotonic() < self._not_before.get(key, 0.0):
                continue
            self._not_before[key] = time.monotonic() + _AGAIN_SECONDS
            try:
                remove(one)
            except InterruptedWork:
                raise
            except TerraError as error:
                _log.error("what is left of work cannot be removed", host=one.name, made=dict(one.made), reason=error.message)
                continue
            if not one.may_go_on:  # its process makes nothing of that any more
                self._rows.clear(one)
                self._not_before.pop(key, None)

    def _drop_unasked(self) -> None:
        """Want no work any more that nobody here waits for, such as when the database was away at its end."""
        with self._putting:
            left = [number for number in self._rows.wanted() if number not in self._asked]
            if left:
                self._rows.drop(left)

    def _waited_for(self, number: int, task: Task, report: Report) -> Outcome:
        """Wait for the end of a task, do it here while there is a turn for it, and tell what is told of it."""
        told = (0, 0)
        host = ""
        while True:
            outcome = self._outcome(number, task)
            if outcome.stage is Stage.QUEUED and self._turns.acquire(blocking=False):
                with Undo() as undo:
                    undo.callback(self._turns.release)
                    self._do_here(number, task, report)
                continue
            if outcome.name not in (host, self._own.name):
                host = outcome.name
                report(Event(_STEP, f"{host}: {task.said}"))
            if outcome.name != self._own.name:
                told = _tell(outcome, told, report)
            if outcome.stage is Stage.DONE:
                return outcome
            if outcome.stage is Stage.FAILED:
                raise error_of(outcome.said)
            if outcome.stage is Stage.LOST:
                raise TerraError(
                    f"{task.said}: it was begun {MOST_ATTEMPTS} times, and each time its host ended or fell silent",
                    hint="see the logs of the hosts: terra hosts",
                )
            report(Event(_STEP, f"{task.said}: {_waits_for(outcome)}", 0, 1))
            _pause()

    def _do_here(self, number: int, task: Task, report: Report) -> None:
        lease = self._rows.take_own(self._own, number)
        if lease is None:
            return
        holding = Holding(self._rows, lease, report)
        with Undo() as undo:
            undo.when_failing(self.let_go, holding)
            try:
                with holding.kept():
                    task.here(holding)
            except LeaseLost:
                self.let_go(holding)  # another host may have it by now
            except InterruptedWork:
                if _is_interrupted() or not holding.must_end:
                    raise
                self.let_go(holding)  # as above

    def _outcome(self, number: int, task: Task) -> Outcome:
        """Return where a piece of work stands; the database may be away for a while."""

        def found() -> Outcome | None:
            try:
                outcome = self._rows.outcome(number)
            except DatabaseAway:
                if _is_interrupted():
                    raise InterruptedWork(f"{task.said} was interrupted") from None
                return None
            if outcome is None:
                raise UnavailableError(f"{task.said}: the work was taken away", hint="try again in some seconds")
            return outcome

        return wait_until(found, seconds=_AWAY_SECONDS, what="the database to answer", interval=0.5)

    def _drop(self, number: int) -> None:
        """Want a piece of work no more, and wait a moment for who does it to undo it."""
        self._rows.drop([number])

        def undone() -> bool:
            return not any(one.number == number and one.may_go_on for one in self._rows.remains())

        with suppress(WaitedInVain):
            wait_until(undone, seconds=_UNDOING_SECONDS, what="the work to be undone", interval=_LOOK_SECONDS)


def _tell(outcome: Outcome, told: tuple[int, int], report: Report) -> tuple[int, int]:
    """Report what another host tells and was not reported yet; return the attempt and number of the last of that."""
    attempt, last = told if told[0] == outcome.attempt else (outcome.attempt, 0)
    for row in outcome.events:
        number = row.get("number")
        if isinstance(number, int) and number > last:
            last = number
            report(structure({name: value for name, value in row.items() if name != "number"}, Event))
    return attempt, last


def _waits_for(outcome: Outcome) -> str:
    return "wait for a host that does it" if outcome.stage is Stage.QUEUED else f"{outcome.name} does it"


def _is_interrupted() -> bool:
    asked = interruption.get()
    return asked is not None and asked()


def _pause() -> None:
    threading.Event().wait(_LOOK_SECONDS)
