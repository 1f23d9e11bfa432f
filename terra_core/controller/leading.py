"""The lead: of the controllers of a database, the one that serves machines and writes (decision 0097)."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

import structlog
from sqlalchemy import Connection, insert, select, update

from terra_core.controller.database import controllers, lead
from terra_core.controller.host_session import ASKING_SECONDS, LEAD, HostSession, name_lock
from terra_core.controller.hosts import FENCED, Own, is_drained, may_another_lead, present, read_hosts
from terra_core.errors import TerraError, UnavailableError
from terra_core.service.database_server import is_down

_log = structlog.get_logger(__name__)
LOOK_SECONDS = 1.0
"""How often who leads says that it is there, and who does not looks whether anybody does."""
PATIENCE_SECONDS = 6.0
"""Who leads and says nothing for so long has lost the lead."""
_PAUSE_SECONDS = 10.0
"""So long who gave the lead back does not ask for it again."""
_COURTESY_SECONDS = ASKING_SECONDS + LOOK_SECONDS + 2.0
"""So long who never led does not ask after the database was away: who led goes on, and no disk of a machine moves.

What who led asked while the database was away may be given up only some seconds after it is back; the next question follows.
"""
LETTING_GO_SECONDS = 2.0
"""So long a host takes to drop the storage address once it does not lead any more: keepalived looks every second."""


class Standing(Protocol):
    """Whether this controller leads."""

    @property
    def held(self) -> bool:
        """Whether it does, as far as is known without asking anybody."""

    @property
    def serves_until(self) -> float:
        """Until when nobody else serves machines, in seconds of the monotonic clock."""

    @property
    def former_until(self) -> float:
        """Until when who led before may serve machines still, in seconds of the monotonic clock."""

    @property
    def epoch(self) -> int:
        """The epoch since which this controller leads, or has led last; 0 when it never did."""

    def require(self) -> None:
        """Check that it does.

        :raises UnavailableError: when it does not; says who does.
        """

    @property
    def leaving(self) -> bool:
        """Whether it leads, is drained, and another one is there that takes the lead; as of the last look."""

    def give_back(self) -> None:
        """Let another controller lead, for this one cannot, or has to."""


class Sole:
    """The standing of a controller that has a database for itself."""

    held = True
    leaving = False
    serves_until = math.inf
    former_until = 0.0
    epoch = 0

    def require(self) -> None:
        """Return: nobody else could lead."""

    def give_back(self) -> None:
        """Do nothing: nobody else could take it."""


class Lead:
    """The lead of a controller in PostgreSQL, had or waited for. May be used from several threads.

    :param session: this controller's own session, which nothing else uses from now on.
    :param own: this controller.
    :param depose: called once, when another one has led since this one did: from then on it never leads again. ``None`` where
        what it has begun stays its own, as of hosts with stores of their own: it waits for the lead again then.
    """

    def __init__(self, session: HostSession, own: Own, depose: Callable[[], object] | None) -> None:
        self._session, self._own, self._depose = session, own, depose
        self._deposed = False
        self._looking = threading.RLock()
        self._epoch = 0
        self._until = 0.0
        self._serves_until = 0.0
        self._former_until = 0.0
        self._hurried = ""
        self._was_away = False
        self._not_before = 0.0
        self._unsure = ""
        self._given_back = threading.Event()
        self._drained = self._leaving = False

    @property
    def leaving(self) -> bool:
        """Whether this controller leads, is drained, and another one is there that takes the lead; as of the last look."""
        return self._leaving and self.held

    @property
    def held(self) -> bool:
        """Whether this controller leads: confirmed lately enough that nobody else can by now."""
        # Asked for first: the thread that hands the lead over forgets the epoch, and that it was given back last of all.
        return not self._given_back.is_set() and bool(self._epoch) and time.monotonic() < self._until

    @property
    def serves_until(self) -> float:
        """Until when nobody else serves machines: while this one leads, or the database runs for nobody."""
        return 0.0 if self._given_back.is_set() else self._serves_until

    @property
    def former_until(self) -> float:
        """Until when who led before may serve machines still, as far as it was not told that it has lost the lead."""
        return self._former_until

    @property
    def epoch(self) -> int:
        """The epoch since which this controller leads, or has led last; 0 when it never did."""
        return self._epoch

    def require(self) -> None:
        """Check that this controller leads; the database is asked where that is not sure.

        :raises UnavailableError: when it does not; says who does.
        """
        if self.held:
            return
        with self._looking:
            if self._epoch:
                self.look()
            if not self.held:
                self._refuse()

    def _refuse(self) -> NoReturn:
        if self._epoch:
            said = f"{self._own.name} is not sure of the lead: {self._unsure or 'its database did not answer in time'}"
            raise UnavailableError(said, hint="try again in some seconds")
        with self._session.asking() as connection:
            hosts = read_hosts(connection)
        leader = next((host for host in hosts if host.leads), None)
        if any(host.own.name == self._own.name and host.state == FENCED for host in hosts):
            hint = f"let it in again when it is well: terra hosts --unfence {self._own.name}"
            raise UnavailableError(f"{self._own.name} is fenced, and changes nothing: another host took its place", hint=hint)
        if leader is None or leader.own.identity == self._own.identity:
            if self._drained:
                said = f"nobody has the lead, and {self._own.name} does not take it, as it is drained"
                raise UnavailableError(said, hint=f"terra hosts shows the others; terra host resume {self._own.name}")
            said = f"{self._own.name} waits for the lead, which nobody has now"
            raise UnavailableError(said, hint="try again in some seconds")
        raise UnavailableError(
            f"{self._own.name} waits, and changes nothing: {leader.own.name} has the lead",
            hint=f"ask that one: terra --controller {leader.own.url}",
        )

    def look(self) -> None:
        """Confirm the lead, or take it when nobody has it; called every second."""
        with self._looking:
            try:
                if self._deposed:
                    return
                if self._given_back.is_set():
                    self._hand_over()
                elif not (self._epoch and self._session.is_open and self._is_confirmed()):
                    self._try_to_take()
            except TerraError as error:
                self._doubt(error)

    def give_back(self) -> None:
        """Let another controller lead, for this one cannot, or has to."""
        self._given_back.set()

    def _is_confirmed(self) -> bool:
        """Say that this controller leads still; return False where the connection is lost by which it does."""
        began = time.monotonic()
        try:
            with self._session.asking() as connection:
                mine = lead.c.epoch == self._epoch
                known = connection.execute(update(lead).where(mine).values(seen=present(connection))).rowcount
                self._note_drain(connection)
        except TerraError as error:
            self._doubt(error)
            return False
        if known:
            self._go_on(began)
        else:
            self._end("another controller has the lead")
        return True

    def _try_to_take(self) -> None:
        began = time.monotonic()
        if began < self._not_before:
            return
        if not self._session.try_lock(name_lock(self._own.name)):  # the session is a new one
            self._session.end_sessions(self._own.identity)
            return
        with self._session.asking() as connection:
            self._note_drain(connection)
        if not self._epoch and (self._drained or self._has_to_wait(began)):
            return
        if not self._session.try_lock(LEAD):
            self._hurry_silent()
            return
        with self._session.asking() as connection:
            row = connection.execute(select(lead)).one_or_none()
            former_until = self._time_of(row, began, present(connection))
            if self._epoch:
                if row is None or row.epoch != self._epoch:
                    self._end("another controller has had the lead since")
                    return
                connection.execute(update(lead).values(seen=present(connection)))
            else:
                values = {"name": self._own.name, "identity": self._own.identity, "seen": present(connection)}
                following = 1 if row is None else row.epoch + 1
                change = insert(lead) if row is None else update(lead)
                # A transaction of the former epoch ends before this: it has the row as its key (decision 0097).
                connection.execute(change.values(epoch=following, **values))
                self._epoch, self._former_until = following, former_until
                former = "" if row is None else row.name
                _log.info("this host has the lead", name=self._own.name, epoch=following, former=former)
        self._go_on(began)

    def _note_drain(self, connection: Connection) -> None:
        self._drained = is_drained(connection, self._own.name)
        self._leaving = self._drained and may_another_lead(connection, self._own.name)

    def _has_to_wait(self, now: float) -> bool:
        """Return whether this host, which has never led, may not ask for the lead now."""
        if self._was_away:
            self._was_away, self._not_before = False, now + _COURTESY_SECONDS
            return True
        with self._session.asking() as connection:
            own = select(controllers.c.state).where(controllers.c.name == self._own.name)
            return bool(connection.scalar(own) == FENCED)

    def _time_of(self, row: Any, now: float, present: float) -> float:  # a row of SQLAlchemy's
        """Return until when who led before may serve machines still, by this host's clock.

        One that was silent may believe that it leads until its time is over; of one that was killed, or told, keepalived knows.
        """
        if row is None or row.name == self._own.name:
            return 0.0
        left = PATIENCE_SECONDS - (present - row.seen) if row.identity == self._hurried else 0.0
        return now + max(left + LETTING_GO_SECONDS, 0.0)

    def _hurry_silent(self) -> None:
        """End the sessions of who has the lead and says nothing."""
        with self._session.asking() as connection:
            row = connection.execute(select(lead)).one_or_none()
            silence = 0.0 if row is None else present(connection) - row.seen
        if row is None:
            return
        if self._epoch and row.epoch != self._epoch:
            self._end("another controller has the lead")
        elif row.identity == self._own.identity:
            self._session.end_sessions(self._own.identity)  # a former one of this process, which was cut off from it
        elif silence > PATIENCE_SECONDS:
            self._hurried = row.identity
            ended = self._session.end_sessions(row.identity)
            _log.warning("who has the lead is silent: its sessions are ended", name=row.name, silence=silence, sessions=ended)

    def _hand_over(self) -> None:
        self._session.unlock(LEAD)
        self._epoch, self._until, self._serves_until, self._unsure = 0, 0.0, 0.0, ""
        self._not_before = time.monotonic() + _PAUSE_SECONDS
        self._given_back.clear()
        _log.warning("this host gives the lead back", name=self._own.name)

    def _doubt(self, error: TerraError) -> None:
        if self._epoch and not self._unsure:
            _log.error("the lead is not sure any more", reason=error.message)
        elif not self._epoch and error.message != self._unsure:  # such as users of the database that differ (decision 0097)
            _log.error("this host cannot ask for the lead", name=self._own.name, reason=error.message)
        self._unsure = error.message
        self._until = 0.0
        self._was_away = not self._epoch
        now = time.monotonic()
        if self._epoch and now < self._serves_until and is_down(error):
            self._serves_until = now + PATIENCE_SECONDS

    def _go_on(self, began: float) -> None:
        if self._unsure:
            _log.info("the lead is sure again", epoch=self._epoch)
        self._unsure = ""
        self._until = self._serves_until = began + PATIENCE_SECONDS

    def _end(self, why: str) -> None:
        self._until = self._serves_until = 0.0
        if self._depose is None:
            _log.warning("this host does not have the lead any more", reason=why, epoch=self._epoch)
            self._epoch, self._unsure = 0, ""
            return
        self._unsure, self._deposed = why, True
        _log.error("this controller has lost the lead for good, and ends at once", reason=why, epoch=self._epoch)
        self._depose()
