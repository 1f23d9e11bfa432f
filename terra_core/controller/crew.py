"""What a host does that waits for the lead: pieces of work of the host that leads (decision 0104)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import structlog

from terra_core.controller.holding import Holding
from terra_core.controller.hosts import Own
from terra_core.controller.leading import Standing
from terra_core.controller.leases import Lease, LeaseLost, WorkRows
from terra_core.controller.pieces import KINDS, Pieces
from terra_core.controller.sharing import Shared
from terra_core.errors import InterruptedWork, TerraError
from terra_core.service.database_server import DatabaseAway
from terra_core.service.problems import problem_of
from terra_core.service.running import Unending, watching
from terra_core.system.undo import Undo

_log = structlog.get_logger(__name__)
LOOK_SECONDS = 0.5
"""How often a host that has a hand free asks for work."""
_TIDY_SECONDS = 60.0


class Crew:
    """Takes pieces of work while this host waits, and does them in threads of its own.

    :param rows: the queue.
    :param own: this host.
    :param standing: whether it leads.
    :param sharing: what it shares its work by when it leads.
    :param pieces: does the work.
    :param jobs: how much of it at once.
    """

    def __init__(self, rows: WorkRows, own: Own, standing: Standing, sharing: Shared, pieces: Pieces, jobs: int) -> None:
        self._rows, self._own, self._standing, self._sharing, self._pieces = rows, own, standing, sharing, pieces
        self._hands = threading.BoundedSemaphore(jobs)
        self._pool = ThreadPoolExecutor(jobs, thread_name_prefix="crew")
        self._ended = threading.Event()
        self._looking = Unending("no work can be taken for the host that leads")
        self._tidied = time.monotonic()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Take work for as long as a block lasts; what is not done at its end is undone, and others may take it."""
        with Undo() as undo:
            undo.callback(self._pool.shutdown)
            undo.callback(self._ended.set)
            undo.enter_context(watching(self.look, seconds=LOOK_SECONDS))
            yield

    def look(self) -> None:
        """Take what there is while this host has a hand free and waits; otherwise see whether others do so."""
        with self._looking.turn():
            leads = self._standing.held
            self._sharing.look(leads=leads)
            if leads:
                return
            if time.monotonic() - self._tidied >= _TIDY_SECONDS:
                self._tidied = time.monotonic()
                self._pieces.tidy()
            while self._hands.acquire(blocking=False):
                with Undo() as undo:
                    undo.callback(self._hands.release)
                    lease = self._rows.take(self._own, KINDS)
                    if lease is None:
                        return
                    self._pool.submit(self._do, lease)
                    undo.pop_all()

    def _do(self, lease: Lease) -> None:
        with Undo() as undo:
            undo.callback(self._hands.release)
            log = _log.bind(work=lease.kind, subject=lease.subject, lease=lease.name)
            log.info("begins, for the host that leads")
            reason = self._done(lease, Holding(self._rows, lease, ending=self._ended.is_set))
            if reason:
                log.warning("ended without an end of the work", reason=reason)
            else:
                log.info("done")

    def _done(self, lease: Lease, holding: Holding) -> str:
        """Do a piece of work; return why it is not done, or an empty text."""
        try:
            with holding.kept():
                self._pieces.do(lease, holding)
        except (InterruptedWork, LeaseLost, DatabaseAway) as error:  # it was undone, and somebody else may do it
            self._sharing.let_go(holding)
            return error.message or "interrupted"
        except Exception as error:  # the boundary of the thread: a defect must reach who waits
            if not isinstance(error, (TerraError, OSError)):
                _log.error("defect", exc_info=error)
            document = problem_of(error)
        else:
            return ""
        try:
            holding.fail(document)
        except TerraError:  # the lease is lost, or nobody hears it
            self._sharing.let_go(holding)
        return str(document["detail"])
