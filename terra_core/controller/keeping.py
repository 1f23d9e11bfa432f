"""Keeping what exists as the database says: at the start, and for as long as the controller runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import structlog

from terra_core.controller.machines import Machines
from terra_core.controller.records import Record, SetAside
from terra_core.controller.services import MENDED
from terra_core.errors import InterruptedWork, TerraError, UnavailableError
from terra_core.service.database_server import DatabaseAway
from terra_core.service.operations import Operations
from terra_core.system.progress import Event, Report, silent
from terra_core.system.undo import Undo, undoing

_log = structlog.get_logger(__name__)
WAITING_SECONDS = 0.25
"""How often a controller that waits looks whether it may begin: machines wait as well by then."""
_LOOK_SECONDS = 3.0
_PATIENCE_SECONDS = 600.0
"""Two hundred machines are restored between two signs of life, and each call of a program may take half a minute."""

_MINUTE = 60.0
_SHARE = 20
_TURN_SECONDS = 1.0
_LEAVING = "this host is drained: it finishes what it has begun, and another one takes the lead"
_DATABASE = "database"
MENDING = "compare"
"""The step of the events that say how far a look has come that somebody asked for."""


class Keeper:
    """Keeps services and machines as the database says, in a thread of its own while requests are served.

    :param machines: the controller's use cases.
    :param operations: its long work, which ends before the lead is handed over.
    :param left: called when the lead is handed over: what was seen counts no longer when this controller leads again.
    """

    def __init__(
        self, machines: Machines, operations: Operations | None = None, left: Callable[[], object] = lambda: None
    ) -> None:
        self._machines, self._operations, self._left = machines, operations, left
        self._ended = threading.Event()
        self._unfinished: Sequence[Record | SetAside] = ()
        self._lost = False
        self._away = ""
        self._converged = threading.Event()
        self._seen = time.monotonic()
        self._due = self._next = 0.0
        self._looking = threading.Lock()
        self._waits = False
        self._leaving = False
        self._turns, self._turning = 0, threading.Condition()

    @property
    def works(self) -> bool:
        """Whether this controller leads, and has begun to work."""
        return self._machines.standing.held and not self._waits

    def require_work(self) -> None:
        """Check that this controller may change machines now.

        :raises UnavailableError: when it may not; says who may, as far as that is known.
        """
        self._machines.standing.require()
        if self._leaving:
            raise UnavailableError(_LEAVING, hint="try again in some seconds")
        if self._waits:
            raise UnavailableError("this host has the lead, and has not begun to work yet", hint="try again in some seconds")

    def while_working(self, look: Callable[[], None]) -> None:
        """Do something once that only a host does that works; the lead is not handed over before it has ended."""
        with self._turning:
            if not self.works:
                return
            self._turns += 1
        with Undo() as undo:
            undo.callback(self._end_turn)
            look()

    def _end_turn(self) -> None:
        with self._turning:
            self._turns -= 1
            self._turning.notify_all()

    def wait_for_lead(self) -> None:
        """Begin nothing before this controller leads; called in place of :meth:`begin`."""
        self._waits = True

    def begin(self) -> None:
        """Start the services, both or none, and find what is left to do; called before any request is served.

        :raises TerraError: when one of them cannot be started.
        """
        with Undo() as undo:
            self._lost = self._machines.start_storage() or self._lost
            if self._lost:
                undo.callback(self._machines.stop_unused_storage)
            self._unfinished = self._machines.unfinished()
            self._machines.start_boot(self._machines.session)
            undo.pop_all()

    def wait(self, seconds: float) -> None:
        """Wait for the first look, so that a short one is done before the first request is served."""
        self._converged.wait(seconds)

    def end(self) -> None:
        """Let a look that is under way stop half-way; what is left is done at the next start."""
        self._ended.set()

    @property
    def lively(self) -> bool:
        """Return whether the thread that looks has gone on lately: what it waits for has limits of its own, below this one."""
        return time.monotonic() - self._seen < _PATIENCE_SECONDS

    def _go_on(self) -> bool:
        """Take note that the thread goes on; return whether it has to end."""
        self._seen = time.monotonic()
        return self._ended.is_set()

    def look_when_due(self) -> None:
        """Look, every three seconds, and at each call while this host waits.

        One thread alone calls this: a look may begin to work, or hand over, and no other one may begin meanwhile.
        """
        if self._waits or time.monotonic() >= self._next:
            self.look()
            self._next = time.monotonic() + _LOOK_SECONDS

    def look(self) -> None:
        """Bring everything to what the database says, once; after that, bring back a service that is gone, and compare all.

        All is compared every minute, after a fault, and so that it takes a twentieth of the time at most.
        """
        self._go_on()
        if (self._waits and not self._begins()) or self._hands_over():
            return
        self._machines.keep_room()
        with self._looking, suppress(InterruptedWork), self._seeing_the_database():
            if not self._converged.is_set():
                self._converge()
            else:
                again = self._machines.troubles.is_to_look_again()
                cut = self._take_up()
                self._keep(silent, everything=again or cut or time.monotonic() >= self._due)

    def _begins(self) -> bool:
        """Begin to work where this controller leads by now; return whether it has begun."""
        standing = self._machines.standing
        if not standing.held:
            return False
        with self._explained("lead"):
            try:
                taken = self._machines.portal.take()
                if self._machines.portal.moves:  # it takes a second, and nobody reaches it before the address is here
                    self._lost = self._machines.start_storage() or self._lost
                if not taken:
                    return False
                self.begin()
            except TerraError as error:
                with undoing(error):
                    self._machines.portal.leave()
                standing.give_back()
                raise
            self._waits = False
            self._take_work("")
        return self.works

    def _hands_over(self) -> bool:
        """Give the lead to another host, where this one is drained and has done all that was begun; return whether it did.

        Until then services are kept up, and nothing new is begun. The services here end first: no disk has two hosts.
        """
        standing = self._machines.standing
        if standing.leaving != self._leaving:
            self._leaving = not self._leaving
            self._take_work("")
            said = "this host is drained, and finishes what it has begun" if self._leaving else "this host goes on to lead"
            _log.warning(said)
            return False  # a request that was taken a moment ago has until the next look to begin its work
        if not self._leaving:
            return False
        self._take_work(_LEAVING)
        if self._is_busy:
            return False
        with self._looking, self._explained("lead"):
            with self._turning:
                self._waits = True  # no further turn begins
                ended = self._turning.wait_for(lambda: not self._turns, _TURN_SECONDS)
            try:
                if not ended or self._is_busy:  # such as with an upgrade that goes on, which a turn has begun
                    self._waits = False
                    return False
                self._machines.portal.leave()
                self._machines.leave()
            except TerraError:
                self._waits = self._machines.portal.moves  # they are started again, and it is tried again
                raise
            self._converged.clear()
            self._unfinished, self._lost = (), False
            self._left()
            standing.give_back()
            self._leaving = False
            _log.warning("this host has stopped its services, and gives the lead to another one")
        return self._waits

    @property
    def _is_busy(self) -> bool:
        operations = self._operations
        return (operations is not None and operations.busy) or self._machines.upgrading.following.carrying

    def _take_work(self, reason: str) -> None:
        """Take no more work, for a reason; with an empty one, take it again."""
        if self._operations is not None:
            self._operations.close(reason)

    def mend(self, report: Report) -> Mapping[str, Any]:
        """Compare everything with the database now, and mend what can be mended.

        :returns: what was mended, and what is left.
        """
        mended: list[str] = []

        def heard(event: Event) -> None:
            if event.step == MENDED:
                mended.append(event.text)
            report(event)

        report(Event(MENDING, "wait for a look that is under way"))
        while not self._looking.acquire(timeout=_TURN_SECONDS):
            report(Event(MENDING, "wait for a look that is under way", 0, 1))
        with Undo() as undo:
            undo.callback(self._looking.release)
            undo.enter_context(self._seeing_the_database())
            report(Event(MENDING, "compare everything with the database"))
            if not self._converged.is_set():
                self._converge()
            self._take_up()
            self._keep(heard, everything=True)
        troubles = [f"{name}: {reason}" for name, reason in sorted(self._machines.troubles.services.items())]
        return {"mended": mended, "left": [*troubles, *self._machines.problems()]}

    def _keep(self, report: Report, *, everything: bool) -> None:
        """Bring back services that are gone; compare everything with the database, if asked for."""
        began = time.monotonic()
        with self._explained("storage"):
            if self._machines.start_storage():
                self._lost = True  # until all is exported again, which may fail
                _log.warning("the storage service was gone and has been started again")
                report(Event(MENDED, "the storage service is started again"))
            if self._lost or everything:
                self._machines.restore(lost=self._lost, ended=self._go_on, report=report)
                self._lost = False
        with self._explained("boot"):
            if self._machines.start_boot(self._machines.session):
                _log.warning("the boot service was gone or did not answer, and has been started again")
                report(Event(MENDED, "the boot service is started again"))

        with self._explained("portal"):
            self._machines.portal.require_here()
        with self._explained("store"):
            self._machines.require_room()
        with self._explained("images"):
            self._machines.goldens.remove_unused()
        if everything:
            with self._explained("controller"):
                self._machines.finish_deletions(report)
                self._machines.clean_up(report)
            with self._explained("tree"):
                self._machines.common_tree.look()
            self._plan(began)

    def _take_up(self) -> bool:
        """Finish what ended half-way if the database failed since the last look; return whether that was done."""
        if self._machines.was_cut():
            with self._explained("controller", undone=self._machines.is_cut):
                self._machines.take_up()
                return True
        return False

    def _plan(self, began: float) -> None:
        """Plan the next time that everything is compared."""
        now = time.monotonic()
        self._due = now + max(_MINUTE, (now - began) * _SHARE)

    def _converge(self) -> None:
        began = time.monotonic()
        with self._explained("tree"):
            self._machines.common_tree.look()
        with self._explained("controller"):
            if self._machines.portal.moves:  # machines wait for their disks, and for nothing else
                self._machines.restore(lost=self._lost, disks_alone=True, ended=self._go_on)
                self._machines.portal.open()
            self._machines.recover(self._unfinished)
            self._machines.restore(lost=self._lost, ended=self._go_on)
            self._lost = False
            self._machines.start_boot(self._machines.session)
            self._converged.set()
            _log.info("all machines are as the database says")
            self._plan(began)

    @contextmanager
    def _seeing_the_database(self) -> Iterator[None]:
        """Note whether the database answers: a service that cannot be kept up for that reason alone has no fault of its own."""
        self._away = ""
        yield
        troubles = self._machines.troubles
        was_away = _DATABASE in troubles.services
        troubles.note(_DATABASE, self._away)
        if bool(self._away) != was_away:  # a server that ends says one thing, and one that has ended another one
            if self._away:
                _log.error("the database does not answer; machines keep their disks", reason=self._away)
            else:
                _log.info("works again", service=_DATABASE)

    @contextmanager
    def _explained(self, service: str, *, undone: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Log an error of a service once, and add it to the problems of machines until the service works again.

        :param undone: called when the block fails.
        """
        troubles = self._machines.troubles
        try:
            with Undo() as undo:
                undo.when_failing(undone)
                yield
        except InterruptedWork:
            raise
        except DatabaseAway as error:
            self._away = str(error)
        except TerraError as error:
            if troubles.note(service, str(error)):
                _log.error("a service cannot be kept up", service=service, reason=str(error))
        except Exception as error:  # the boundary of the thread: no defect may end it
            if troubles.note(service, f"a defect of Terra's: {error!r}"):
                _log.error("defect", exc_info=error)
        else:
            if troubles.note(service, ""):
                _log.info("works again", service=service)
