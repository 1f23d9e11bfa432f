"""Containers as images: checkpoints, restores, and moves from one agent to another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog
from attrs import evolve

from terra_core.client.connection import Client
from terra_core.config.values import ImageReference
from terra_core.errors import ConflictError, NotFoundError, TerraError
from terra_core.system.process import uninterrupted
from terra_core.system.progress import Event, Report
from terra_core.system.undo import Undo, undoing
from terra_orbit import API_PORT
from terra_orbit.agent.containers import Containers
from terra_orbit.agent.convergence import STOP_SECONDS
from terra_orbit.agent.memory import layer_of
from terra_orbit.agent.records import Move, Record, State
from terra_orbit.agent.requests import MigrateRequest, RestoreRequest
from terra_orbit.service import AGENT

_log = structlog.get_logger(__name__)
_WITHOUT = "without --live, its configuration and file system are stored"
_ANEW = "without --live, its programs start anew on its file system"


class Moves:
    """The checkpoints, restores and moves of an agent's containers.

    :param containers: its containers.
    """

    def __init__(self, containers: Containers) -> None:
        self._containers = containers

    def checkpoint(self, name: str, reference: ImageReference, report: Report, *, live: bool = False) -> dict[str, Any]:
        """Store a container's configuration and file system as an image of the engine; what is mounted is not part of it.

        :param live: store what its programs have in memory, too. The container is stopped and has no network meanwhile, and
            goes on from what was stored.
        :raises TerraError: when ``live`` is asked for and cannot be had here; with the reason. The container runs on then.
        """
        with self._containers.claim(name):
            record = self._containers.store.get(name)
            if not live:
                return self._commit(record, reference, report)
            _check_name(reference)
            self._containers.running(name)
            self._containers.checkpoints.require(name, _WITHOUT)
            with Undo() as undo:
                undo.callback(self._resume_whatever_happens, record)
                self._take_memory(record, report)
                return self._commit(record, reference, report, live=True)

    def push(self, name: str, reference: ImageReference, report: Report) -> dict[str, Any]:
        """Store a container as :meth:`checkpoint` does, and give the image to its registry."""
        with self._containers.claim(name):
            record = self._containers.store.get(name)
            stored = self._commit(record, reference, report)
            self._containers.images.push(reference, report)
            return stored

    def restore(self, asked: RestoreRequest, report: Report) -> Record:
        """Make a container of a checkpoint, and start it.

        :raises TerraError: when its programs are to go on from memory, and cannot; with the reason.
        """
        containers, reference = self._containers, asked.image
        if asked.live:
            containers.checkpoints.require(str(reference), _ANEW)
        image = containers.images.ensure(reference, report)
        if asked.live and layer_of(image) is None:
            raise TerraError(f"{reference}: holds no memory to go on from", hint=_ANEW)
        document = containers.document_of(image, str(reference), asked.id)
        return containers.create(document, report, macs=asked.macs, live=asked.live)

    def migrate(self, name: str, target: Client, asked: MigrateRequest, report: Report) -> dict[str, Any]:
        """Move a container to another agent, by way of a registry that both reach; it runs here again when that fails.

        It is stopped from the copy on, so that no write is lost. Once the other agent has been asked to take it, it does not
        run here until that agent says that it does not have it: see :meth:`settle`.

        :param target: the other agent.
        """
        containers = self._containers
        with containers.claim(name):
            record = containers.existing(name)
            self._check(record, target, asked)
            try:
                if asked.live:
                    self._take_memory(record, report)
                report(Event("migrate", f"stopping {name}"))
                containers.convergence.bring(evolve(record, state=State.STOPPED), stop_seconds=STOP_SECONDS)
                self._commit(record, asked.ref, report, live=asked.live)
                containers.images.push(asked.ref, report)
            except BaseException as error:
                with undoing(error), uninterrupted():
                    self._go_on(record)
                raise
            return self._hand_over(record, target, asked, report)

    def settle(self, record: Record) -> dict[str, Any] | None:
        """Find out where a container is that another agent was asked to take, and see to it that it is nowhere else.

        While the other agent does not answer, or works on it, nothing is done.

        :returns: what the other agent shows of it, when it has it.
        """
        containers, move = self._containers, record.move
        if move is None:
            return None
        target = Client(move.url, token=move.token, port=API_PORT, service=AGENT)
        try:
            if any(_restores(one, move.ref) for one in target.get("/v1/operations")):
                return None
            there = _shown(target, record.id)
        except TerraError as error:
            containers.store.change(record, problem=f"{_on_its_way(record.id, move.url)} ({error.message})")
            return None
        if there is not None and there["image"] == move.ref:
            if there["status"] == State.DELETING.value:
                return None
            containers.convergence.bring(containers.store.change(record, state=State.DELETING, problem=""))
            return there
        self._go_on(containers.store.change(record, state=move.state, problem=""))
        return None

    def _hand_over(self, record: Record, target: Client, asked: MigrateRequest, report: Report) -> dict[str, Any]:
        move = Move(url=target.url, token=asked.token, ref=str(asked.ref), state=record.state)
        departed = self._containers.store.depart(record, move, _on_its_way(record.id, target.url))
        try:
            report(Event("migrate", f"starting {record.id} at {target.url}"))
            body = {"image": move.ref, "macs": list(record.macs), "live": asked.live}
            target.follow(target.post("/v1/restore", body)["operation"], report)
        except BaseException:
            with uninterrupted():
                there = self.settle(departed)
            if there is None:
                raise
        else:
            with uninterrupted():
                there = self.settle(departed)
        if there is None:
            raise TerraError(_on_its_way(record.id, target.url))
        return {"id": record.id, "addresses": there["addresses"], "agent": target.url}

    def _go_on(self, record: Record) -> None:
        try:
            self._containers.convergence.bring(record)
        except TerraError as error:  # supervision will finish it
            _log.warning("a container that could not move cannot be started again yet", container=record.id, reason=str(error))

    def _check(self, record: Record, target: Client, asked: MigrateRequest) -> None:
        """Before anything stands still: is the other agent there, does it know the token, and can both do what is asked for?"""
        _check_name(asked.ref)
        if record.move is not None:
            raise ConflictError(_on_its_way(record.id, record.move.url))
        if _shown(target, record.id) is not None:
            raise ConflictError(f"there is a container {record.id} already at {target.url}", hint="delete that one first")
        if not asked.live:
            return
        self._containers.running(record.id)
        self._containers.checkpoints.require(record.id, _WITHOUT)
        if problem := target.get("/v1/memory")["problem"]:
            raise TerraError(f"{record.id}: its memory cannot be brought back at {target.url}: {problem}", hint=_WITHOUT)

    def _take_memory(self, record: Record, report: Report) -> None:
        """End a container where it stands, so that it goes on from there when it is started."""
        containers = self._containers
        engine_id = containers.running(record.id)
        report(Event("checkpoint", f"storing what the programs of {record.id} have in memory"))
        # The kernel cannot store an interface that leads to another network namespace.
        with containers.connections.held(record):
            containers.connections.detach(record)
        containers.checkpoints.take(engine_id)

    def _resume_whatever_happens(self, record: Record) -> None:
        with uninterrupted():
            self._resume(record)

    def _resume(self, record: Record) -> None:
        convergence = self._containers.convergence
        try:
            convergence.bring(record, faithful=True)
        except TerraError as error:
            convergence.bring(record)
            message = f"{record.id} could not go on from where it was stored, and was started anew: {error.message}"
            raise TerraError(message, hint=error.hint) from error

    def _commit(self, record: Record, reference: ImageReference, report: Report, *, live: bool = False) -> dict[str, Any]:
        _check_name(reference)
        report(Event("checkpoint", f"storing {record.id} as {reference}"))
        for found in self._containers.engine.of(record.uid):
            if found.revision == record.revision:
                store = self._store_live if live else self._containers.images.commit
                image = store(found.engine_id, reference, record.current.document)
                return {"id": record.id, "ref": str(reference), "image": image}
        raise TerraError(f"{record.id}: was not made yet", hint=f"see why: ob get {record.id}")

    def _store_live(self, engine_id: str, reference: ImageReference, document: Mapping[str, Any]) -> str:
        images, checkpoints = self._containers.images, self._containers.checkpoints
        files = images.commit(engine_id, None, document)
        with Undo() as undo:
            undo.callback(images.remove, files)
            image = images.find(files)
            if image is None:
                raise TerraError(f"{reference}: the engine lost the file system that it has just stored")
            return checkpoints.add(image, engine_id, str(reference))


def _restores(operation: Mapping[str, Any], reference: str) -> bool:
    return (operation["kind"], operation["subject"], operation["state"]) == ("restore", reference, "running")


def _shown(target: Client, name: str) -> dict[str, Any] | None:
    """Return what another agent shows of a container; ``None`` if it has no such container."""
    try:
        shown: dict[str, Any] = target.get(f"/v1/containers/{name}")
    except NotFoundError:
        return None
    return shown


def _on_its_way(name: str, url: str) -> str:
    remedy = f"if it runs there, ob delete {name} here, or else ob start {name}"
    return f"on its way to {url}, which has not said whether it has it: {remedy}"


def _check_name(reference: ImageReference) -> None:
    if not reference.tag or reference.digest:
        raise TerraError(f"{reference}: an image is stored under a tag, and this names a digest")
