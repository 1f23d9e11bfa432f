"""What happened to each machine: what the controller saw of it, what was done to it, and what it said itself."""

from __future__ import annotations

import asyncio
import threading
import time as clock
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import structlog
from sqlalchemy import Connection, Engine

from terra_core.controller.happening import BootProgress, Happening, Kind, Stage, utc
from terra_core.controller.happening_rows import HappeningRows, Machine
from terra_core.controller.rate import Rate
from terra_core.errors import ConfigError, NotFoundError, TerraError
from terra_core.service.bell import Bell
from terra_core.service.running import Unending
from terra_core.system.undo import Undo

_log = structlog.get_logger(__name__)
_MOST_OF_KIND = 100
_MOST = 200_000
_MOST_QUEUED = 20_000
_BURST = 40
_SECONDS_EACH = 5.0
_PAUSE_SECONDS = 0.2
"""What comes meanwhile is written in one transaction, which waits for the disk once."""
_IDLE_SECONDS = 5.0
_TIDY_SECONDS = 30.0
_AT_ONCE = 1000
"""How many happenings are written in one transaction: others wait for the database meanwhile."""


class Happenings:
    """Records what happened to machines, and reads it in order.

    Only machines that exist have happenings, and those of one never show as those of a later one of its name.

    :param engine: the controller's database.
    :param most: how many are kept of all machines.
    :param most_of_kind: how many are kept of one kind of one machine, about.
    :param rate: how many are taken of one kind of one machine.
    """

    def __init__(
        self, engine: Engine, *, most: int = _MOST, most_of_kind: int = _MOST_OF_KIND, rate: Rate | None = None
    ) -> None:
        self._rows = HappeningRows(engine, most, most_of_kind)
        self._rate = rate or Rate(_BURST, _SECONDS_EACH)
        self._queue: deque[Happening] = deque(maxlen=_MOST_QUEUED)
        self._recorded = threading.Event()
        self._writing = threading.Lock()
        self._bells: dict[Machine, tuple[Bell, int]] = {}
        self._bells_lock = threading.Lock()
        self._keeping = Unending("what happens to machines cannot be written down")

    def record(
        self,
        hostname: str,
        generation: int,
        kind: Kind,
        text: str,
        data: Mapping[str, Any] | None = None,
        *,
        stage: Stage | None = None,
        time: str = "",
    ) -> None:
        """Record what happened to a machine; return at once, and never fail. It is written a moment later.

        :param generation: that of the machine's record.
        :param text: what happened, in one line and without secrets.
        :param data: the same for programs: a small table of what JSON knows.
        :param stage: how far the machine's boot came by it. ``data`` of a report with ``booted`` are kept as its last one.
        :param time: when it happened, as :func:`terra_core.controller.happening.utc` returns it; now, when left out.
        """
        happening = Happening(
            hostname=hostname,
            generation=generation,
            kind=kind,
            text=text,
            data=data or {},
            stage=stage,
            time=time or utc(),
        ).bounded()
        if self._rate.take(happening):
            self._queue.append(happening)  # the oldest goes where the database takes none for long
            self._recorded.set()

    def flush(self) -> None:
        """Write what was recorded before, now. Waits for the disk.

        :raises TerraError: when the database cannot be written; it is tried again later.
        """
        with self._writing:
            for happening in self._rate.late():
                self._queue.append(happening)
            size = _AT_ONCE
            while batch := [self._queue.popleft() for _ in range(min(size, len(self._queue)))]:
                size = min(_AT_ONCE, size * 2) if self._write(batch) else max(1, len(batch) // 2)

    def keep(self, happening: Happening, connection: Connection) -> None:
        """Write what happened in a transaction of the caller's, who tells :meth:`tell` when it is done.

        Unlike with :meth:`record`, nothing is kept of it when the transaction fails.

        :param connection: to the controller's database.
        :raises NotFoundError: when there is no such machine any more.
        """
        if happening.machine not in self._rows.add(connection, [happening.bounded()]):
            raise NotFoundError(f"{happening.hostname} is not known any more")

    def tell(self, machines: Collection[Machine]) -> None:
        """Wake those who wait for something to happen to these machines."""
        with self._bells_lock:
            bells = [self._bells[machine][0] for machine in machines if machine in self._bells]
        for bell in bells:
            bell.ring()

    @contextmanager
    def writing(self, may_tidy: Callable[[], bool] = lambda: True) -> Iterator[None]:
        """Write what is recorded, in a thread, for as long as the block lasts.

        :param may_tidy: whether what is too much may be removed now.
        """
        ended = threading.Event()

        def write() -> None:
            tidied = clock.monotonic()
            while not ended.is_set():
                self._recorded.wait(_IDLE_SECONDS)
                self._recorded.clear()
                tidy = clock.monotonic() - tidied > _TIDY_SECONDS
                self._keep(tidy=tidy and may_tidy())
                tidied = clock.monotonic() if tidy else tidied
                ended.wait(_PAUSE_SECONDS)

        thread = threading.Thread(target=write, name="happenings", daemon=True)
        with Undo() as undo:
            undo.callback(self._keep, tidy=False)
            thread.start()
            undo.callback(thread.join)
            undo.callback(self._recorded.set)
            undo.callback(ended.set)
            yield

    def read(self, hostname: str, generation: int, *, after: int = 0, most: int = 1000) -> Sequence[Happening]:
        """Return what happened to a machine after a position, in order.

        :param after: the number of a happening; 0 for the first one.
        :param most: how many, from there.
        """
        return self._rows.after(hostname, generation, after, most)

    def newest(self, hostname: str, generation: int, most: int) -> Sequence[Happening]:
        """Return the last of what happened to a machine, in order."""
        return self._rows.newest(hostname, generation, most)

    def last_of(self, kind: Kind) -> Sequence[Happening]:
        """Return the last happening of a kind of each machine."""
        return self._rows.last_of(kind)

    def boot(self, hostname: str, generation: int) -> BootProgress:
        """Return how far the boot of a machine came, and what it said of itself last."""
        return self._rows.boot(hostname, generation)

    def boots(self) -> Mapping[Machine, BootProgress]:
        """Return how far the boots of all machines came of which anything was seen, without what they reported."""
        return self._rows.boots()

    @contextmanager
    def listening(self, hostname: str, generation: int) -> Iterator[asyncio.Event]:
        """Yield an event of the running loop that is set whenever something was written of a machine."""
        machine = (hostname, generation)
        with self._bells_lock:
            bell, listeners = self._bells.get(machine, (Bell(), 0))
            self._bells[machine] = (bell, listeners + 1)
        with Undo() as undo:
            undo.callback(self._leave, machine)
            with bell.listening() as heard:
                yield heard

    def _leave(self, machine: Machine) -> None:
        with self._bells_lock:
            bell, listeners = self._bells.pop(machine)
            if listeners > 1:
                self._bells[machine] = (bell, listeners - 1)

    def _write(self, batch: Sequence[Happening]) -> bool:
        """Write some happenings in one transaction; return whether they were taken, or put back for a smaller one."""
        try:
            written = self._rows.write(batch)
        except Exception as error:
            refused = isinstance(error, ConfigError) or not isinstance(error, TerraError)
            if refused and len(batch) == 1:  # a value that this database cannot hold: it would fail each time
                _log.error("a happening cannot be kept", hostname=batch[0].hostname, reason=str(error))
                return True
            room = _MOST_QUEUED - len(self._queue)
            self._queue.extendleft(reversed(batch[-room:] if room else ()))
            if not refused:
                raise
            return False  # one value that the database refuses takes no other happening with it
        self.tell(written)
        return True

    def _keep(self, *, tidy: bool) -> None:
        with self._keeping.turn():
            self.flush()
            if tidy:
                self._rows.tidy()
