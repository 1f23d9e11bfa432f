"""Containers as images: checkpoints, what is restored from them, and containers that go from one agent to another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from terra_core.client import Client
from terra_core.config.values import ImageReference
from terra_core.errors import CommandError, TerraError
from terra_core.system.process import run, uninterrupted
from terra_core.system.progress import Event, Report
from terra_orbit.agent.containers import Containers
from terra_orbit.agent.convergence import STOP_SECONDS
from terra_orbit.agent.store import Record, State

_log = structlog.get_logger(__name__)


class Moves:
    """What an agent does with containers as images.

    :param containers: its containers.
    """

    def __init__(self, containers: Containers) -> None:
        self._containers = containers

    def checkpoint(self, name: str, reference: ImageReference, report: Report, *, live: bool = False) -> dict[str, Any]:
        """Store a container's configuration and file system as an image of the engine; what is mounted is not part of it.

        :param live: store what its programs have in memory, too.
        :raises TerraError: when ``live`` is asked for and cannot be had here; with the reason.
        """
        if live:
            raise self._no_live(name)
        with self._containers.claim(name):
            record = self._containers.store.get(name)
            return self._commit(record, reference, report)

    def push(self, name: str, reference: ImageReference, report: Report) -> dict[str, Any]:
        """Store a container as :meth:`checkpoint` does, and give the image to its registry."""
        with self._containers.claim(name):
            record = self._containers.store.get(name)
            stored = self._commit(record, reference, report)
            self._containers.engine.push(reference, report)
            return stored

    def restore(
        self, reference: ImageReference, report: Report, *, name: str | None = None, macs: tuple[str, ...] = ()
    ) -> Record:
        """Make a container of a checkpoint, and start it.

        :param name: another id than the one that it had.
        :param macs: the hardware addresses of its networks, for a container that is nowhere else any more.
        """
        image = self._containers.images.ensure(reference, report)
        document = self._containers.document_of(image, str(reference), name)
        return self._containers.create(document, report, macs=macs)

    def migrate(self, name: str, target: Client, reference: ImageReference, report: Report) -> dict[str, Any]:
        """Move a container to another agent, by way of a registry that both reach; it runs here again when that fails.

        It stands still from the copy on, so that nothing that it writes is lost.

        :param target: the other agent.
        :param reference: the image that it travels as.
        """
        containers = self._containers
        with containers.claim(name):
            record = containers.store.get(name)
            before = record.state
            target.get("/v1/containers")  # before anything stands still: is it there, and does it know the token?
            problem = f"on its way to {target.url}: if it runs there, ob delete {name} here, or else ob start {name}"
            record = containers.store.change(record, state=State.STOPPED)
            try:
                report(Event("migrate", f"stopping {name}"))
                containers.convergence.bring(record, stop_seconds=STOP_SECONDS)
                record = containers.store.change(record, problem=problem)
                self._commit(record, reference, report)
                containers.engine.push(reference, report)
                report(Event("migrate", f"starting {name} at {target.url}"))
                body = {"image": str(reference), "macs": list(record.macs)}
                made: dict[str, Any] = target.follow(target.post("/v1/restore", body)["operation"], report)
            except BaseException:
                with uninterrupted():
                    self._go_on(record, before)
                raise
            with uninterrupted():
                containers.convergence.bring(containers.store.change(record, state=State.DELETING, problem=""))
            return {**made, "agent": target.url}

    def _go_on(self, record: Record, state: State) -> None:
        try:
            self._containers.convergence.bring(self._containers.store.change(record, state=state, problem=""))
        except TerraError as error:  # supervision goes on with it
            _log.warning("a container that could not move cannot be started again yet", container=record.id, reason=str(error))

    def _commit(self, record: Record, reference: ImageReference, report: Report) -> dict[str, Any]:
        if not reference.tag or reference.digest:
            raise TerraError(f"{reference}: an image is stored under a tag, and this names a digest")
        report(Event("checkpoint", f"storing {record.id} as {reference}"))
        for found in self._containers.engine.of(record.uid):
            if found.revision == record.revision:
                document: Mapping[str, Any] = record.current.document
                image = self._containers.engine.commit(found.engine_id, reference, document)
                return {"id": record.id, "ref": str(reference), "image": image}
        raise TerraError(f"{record.id}: was not made yet", hint=f"see why: ob get {record.id}")

    def _no_live(self, name: str) -> TerraError:
        """Why memory cannot be stored here."""
        try:
            run(["criu", "check"], timeout=30)
        except CommandError as error:
            reason = error.message.splitlines()[-1]
            return TerraError(
                f"{name}: its memory cannot be stored on this machine: {reason}",
                hint="without --live, its configuration and file system are stored",
            )
        return TerraError(
            f"{name}: this version of Orbit stores no memory, though CRIU would work on this machine",
            hint="without --live, its configuration and file system are stored",
        )
