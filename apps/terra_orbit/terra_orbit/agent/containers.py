"""The containers of one agent: their intended state is stored first, and then made."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import structlog

from terra_core.config.loader import Document, make_document
from terra_core.errors import ConflictError, NotFoundError, TerraError
from terra_core.system.process import uninterrupted
from terra_core.system.progress import Event, Report, silent
from terra_core.system.undo import undoing
from terra_orbit.agent.checkpoints import Checkpoints
from terra_orbit.agent.configs import check_sources, same_content
from terra_orbit.agent.connections import Connections, fresh_macs
from terra_orbit.agent.convergence import STOP_SECONDS, Convergence
from terra_orbit.agent.engine import Engine
from terra_orbit.agent.images import Images
from terra_orbit.agent.paths import OrbitPaths
from terra_orbit.agent.records import Record, State
from terra_orbit.agent.rendering import LABEL_VHOST, label_of
from terra_orbit.agent.store import Store
from terra_orbit.vhost import Vhost

_log = structlog.get_logger(__name__)


class Containers:
    """The use cases of an agent.

    :param engine: what runs the containers.
    :param store: the records.
    :param paths: where the agent keeps things.
    """

    def __init__(self, engine: Engine, store: Store, paths: OrbitPaths) -> None:
        self.engine = engine
        self.store = store
        self.connections = Connections(store, paths)
        self.images = Images(engine)
        self.checkpoints = Checkpoints(engine, self.images, paths.state / "memory")
        self.convergence = Convergence(engine, store, self.connections, self.images, self.checkpoints, paths)
        self._busy: set[str] = set()
        self._lock = threading.Lock()

    def create(
        self, document: Document[Vhost], report: Report = silent, *, macs: Sequence[str] = (), live: bool = False
    ) -> Record:
        """Make a container and start it; nothing of it is left when that fails.

        :param document: its vhost.toml.
        :param macs: the hardware addresses of its networks; new ones when left out.
        :param live: let it go on from the memory that its image holds.
        :raises ConflictError: when there is one of this id.
        """
        vhost = document.value
        with self.claim(vhost.id):
            self._check(vhost)
            found = self.images.ensure(vhost.image, report)
            image = str(found["Id"]) if live else self.checkpoints.base(found)
            record = self.store.create(document.raw, vhost, image, fresh_macs(vhost, macs))
            try:
                report(Event("create", f"starting {vhost.id}"))
                self.convergence.bring(record, patient=True)
            except BaseException as error:
                with undoing(error), uninterrupted():
                    self._undo(record)
                raise
            return self.store.fresh(record)

    def update(self, document: Document[Vhost], report: Report = silent) -> tuple[Record, bool]:
        """Let a container be what a vhost.toml says, in a further revision; the one that it has stays when that fails.

        :returns: the record, and whether there was something to do.
        :raises NotFoundError: when there is no container of this id.
        """
        vhost = document.value
        with self.claim(vhost.id):
            record = self.existing(vhost.id)
            self._check(vhost)
            image = self.checkpoints.base(self.images.ensure(vhost.image, report))
            if self._is_up_to_date(record, document, image):
                return record, False
            former, state = record.revision, record.state
            changed = self.store.add_revision(record, document.raw, image, fresh_macs(vhost, record.macs))
            try:
                report(Event("update", f"starting revision {changed.revision} of {vhost.id}"))
                self.convergence.bring(changed, patient=True)
            except BaseException as error:
                with undoing(error), uninterrupted():
                    self.convergence.bring(self.store.return_to(changed, former, state))
                raise
            self.convergence.tidy(self.store.drop_oldest(changed))
            return self.store.fresh(changed), True

    def rollback(self, name: str, report: Report = silent) -> Record:
        """Return to the former revision, with its file system as it was; the one that is left is forgotten.

        :raises ConflictError: when there is no former one.
        """
        with self.claim(name):
            record = self.existing(name)
            former = record.former
            if former is None:
                raise ConflictError(f"{name} has one revision only, and no former one to return to")
            report(Event("rollback", f"returning {name} to revision {former.number}"))
            returned = self.store.return_to(record, former.number, State.RUNNING)
            self.convergence.bring(returned)
            return self.store.fresh(returned)

    def start(self, name: str, report: Report = silent) -> Record:
        """Start a container that was stopped."""
        with self.claim(name):
            record = self.store.change(self.existing(name), state=State.RUNNING, problem="")
            report(Event("start", f"starting {name}"))
            self.convergence.bring(record, patient=True)
            return self.store.fresh(record)

    def stop(self, name: str, seconds: int = STOP_SECONDS, report: Report = silent) -> Record:
        """Stop a container, and keep it stopped.

        :param seconds: how long it has to end by itself.
        """
        with self.claim(name):
            record = self.store.change(self.existing(name), state=State.STOPPED, problem="")
            report(Event("stop", f"stopping {name}"))
            self.convergence.bring(record, stop_seconds=seconds)
            return self.store.fresh(record)

    def kill(self, name: str, signal: str) -> Record:
        """Send a signal to a container's program; SIGKILL also keeps it down, as :meth:`stop` does.

        :raises ConflictError: when it does not run.
        """
        with self.claim(name):
            record = self.existing(name)
            engine_id = self.running(name)
            if signal == "SIGKILL":
                record = self.store.change(record, state=State.STOPPED, problem="")
            self.engine.kill(engine_id, signal)
            if signal == "SIGKILL":
                self.convergence.bring(record, stop_seconds=0)
            return self.store.fresh(record)

    def delete(self, name: str, seconds: int = STOP_SECONDS, report: Report = silent) -> None:
        """Take a container away, with all that it was connected to; what is mounted from the host stays.

        :raises NotFoundError: when there is none of this id.
        """
        with self.claim(name):
            record = self.store.change(self.store.get(name), state=State.DELETING, problem="")
            report(Event("delete", f"stopping {name}"))
            with uninterrupted():
                self.convergence.bring(record, stop_seconds=seconds)

    def existing(self, name: str) -> Record:
        """Return the record of a container that is not being deleted.

        :raises NotFoundError: when there is none of this id.
        :raises ConflictError: when it is being deleted.
        """
        record = self.store.get(name)
        if record.state is State.DELETING:
            raise ConflictError(f"{name} is being deleted", hint="wait for the end of it")
        return record

    def running(self, name: str) -> str:
        """Return the engine's id of a container that runs.

        :raises ConflictError: when it does not.
        """
        record = self.store.get(name)
        for found in self.engine.of(record.uid):
            if found.revision == record.revision and found.running:
                return found.engine_id
        raise ConflictError(f"{name} does not run", hint=f"start it: ob start {name}")

    def logged(self, name: str) -> tuple[str, bool]:
        """Return the engine's id of a container that has a log, and whether it has a terminal.

        :raises NotFoundError: when it was not made yet.
        """
        record = self.store.get(name)
        for found in self.engine.of(record.uid):
            if found.revision == record.revision:
                return found.engine_id, record.current.vhost.pty
        raise NotFoundError(f"{name} has printed nothing yet")

    @contextmanager
    def claim(self, name: str) -> Iterator[None]:
        """Be the only one who changes a container.

        :raises ConflictError: while somebody else does.
        """
        with self._lock:
            if name in self._busy:
                raise ConflictError(f"{name} is being changed by another command", hint="try again when that is done")
            self._busy.add(name)
        try:
            yield
        finally:
            with self._lock:
                self._busy.discard(name)

    def document_of(self, image: Mapping[str, Any], reference: str, name: str | None) -> Document[Vhost]:
        """Return the configuration that a checkpoint holds, for a container that is made from it.

        :param name: another id than the one that it had.
        :raises NotFoundError: when the image holds none.
        """
        text = label_of(image, LABEL_VHOST)
        if not text:
            raise NotFoundError(f"{reference}: is no checkpoint of a container: its label {LABEL_VHOST} is missing")
        try:
            raw = json.loads(text if text.startswith("{") else base64.urlsafe_b64decode(text))
        except ValueError:
            raise TerraError(f"{reference}: its label {LABEL_VHOST} is not JSON") from None
        if not isinstance(raw, dict):
            raise TerraError(f"{reference}: its label {LABEL_VHOST} is not a JSON object")
        raw |= {"image": reference, **({"id": name} if name else {})}
        return make_document(raw, Vhost, source=f"checkpoint {reference}")

    def _check(self, vhost: Vhost) -> None:
        check_sources(vhost)
        self.connections.check(vhost)

    def _is_up_to_date(self, record: Record, document: Document[Vhost], image: str) -> bool:
        current = record.current
        return (
            record.state is State.RUNNING
            and not record.problem
            and current.vhost == document.value
            and current.image == image
            and same_content(document.value, self.convergence.config_paths(record))
        )

    def _undo(self, record: Record) -> None:
        try:
            self.convergence.bring(self.store.change(record, state=State.DELETING), stop_seconds=0)
        except (TerraError, NotFoundError) as error:  # it is marked: supervision will finish it
            _log.warning("what was begun cannot be undone yet", container=record.id, reason=str(error))
