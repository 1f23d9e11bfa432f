"""The agent's HTTP API: requests in, use cases called, JSON out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from anyio import to_thread
from attrs import AttrsInstance, frozen
from litestar import Litestar, Request, delete, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery

from terra_core.client.connection import Client
from terra_core.config.loader import Document, make_document, received_document
from terra_core.errors import ConflictError
from terra_core.service.access import OneToken
from terra_core.service.answers import Begun
from terra_core.service.application import make_application
from terra_core.service.description import described
from terra_core.service.operation_routes import OPERATION_ROUTES, begun, table_of
from terra_core.service.operations import Operations
from terra_core.system.progress import Report
from terra_orbit import API_PORT
from terra_orbit.agent.containers import Containers
from terra_orbit.agent.convergence import STOP_SECONDS
from terra_orbit.agent.exec import run_program
from terra_orbit.agent.health import Health
from terra_orbit.agent.logs import show_logs
from terra_orbit.agent.metrics import Metrics
from terra_orbit.agent.moves import Moves
from terra_orbit.agent.overview import Overview
from terra_orbit.agent.records import Record
from terra_orbit.agent.requests import (
    LONGEST_STOP,
    KillRequest,
    MigrateRequest,
    RestoreRequest,
    StopRequest,
    StoreRequest,
    parse_signal,
)
from terra_orbit.agent.shown import ContainerDetails, ContainerShown, MemoryShown
from terra_orbit.sending import SentVhost
from terra_orbit.service import AGENT
from terra_orbit.vhost import Vhost

_SOURCE = "vhost.toml"
_Model = TypeVar("_Model", bound=AttrsInstance)
_Begun = dict[str, str]
_Asked = Request[Any, Any, Any]

_EXAMPLE = {"id": "web", "image": "docker.io/stellarproject/web:6"}
_NAMES = {"name": "web"}

_REMOVALS = ("delete", "stop", "kill")
"""The kinds of work that only remove something, and wait for no image."""


@frozen(kw_only=True)
class Context:
    """What the handlers work with.

    :param containers: the use cases.
    :param overview: what is shown of them.
    :param moves: containers as images.
    :param operations: long work.
    """

    containers: Containers
    overview: Overview
    moves: Moves
    operations: Operations

    def begin(self, kind: str, subject: str, work: Callable[[Report], Record | Mapping[str, Any]]) -> _Begun:
        """Begin long work, whose result is a container or something of its own; return the operation that does it."""

        def done(report: Report) -> Mapping[str, Any]:
            result = work(report)
            return self.shown(result) if isinstance(result, Record) else result

        return begun(self.operations.start(kind, subject, done, removal=kind in _REMOVALS))

    def shown(self, record: Record) -> dict[str, Any]:
        """Return what a client is told of a container that was changed."""
        addresses = [one for attachment in self.containers.store.attachments(record) for one in attachment.addresses]
        return {"id": record.id, "state": record.state.value, "revision": record.revision, "addresses": addresses}


_Here = NamedDependency[Context]


def make_api(context: Context, health: Health, token: str) -> Litestar:
    """Return the agent's application."""
    routes = [
        list_containers,
        show_container,
        create_container,
        update_container,
        delete_container,
        start_container,
        stop_container,
        kill_container,
        rollback_container,
        checkpoint_container,
        push_container,
        restore_container,
        migrate_container,
        show_memory,
        run_program,
        show_logs,
        *OPERATION_ROUTES,
    ]
    return make_application(
        title="Orbit agent",
        routes=routes,
        gate=OneToken(token),
        metrics=Metrics(context.overview, context.containers.store, health, context.operations).registry,
        dependencies={
            "context": Provide(lambda: context, sync_to_thread=False),
            "containers": Provide(lambda: context.containers, sync_to_thread=False),
            "operations": Provide(lambda: context.operations, sync_to_thread=False),
        },
    )


@get("/v1/containers", sync_to_thread=True, opt=described(answer=Sequence[ContainerShown]))
def list_containers(context: _Here) -> list[dict[str, Any]]:
    """List every container with its status."""
    return context.overview.all()


@get("/v1/containers/{name:str}", sync_to_thread=True, opt=described(answer=ContainerDetails, names=_NAMES))
def show_container(context: _Here, name: FromPath[str]) -> dict[str, Any]:
    """Show one container with all that is known of it."""
    return context.overview.one(name)


@get("/v1/memory", sync_to_thread=True, opt=described(answer=MemoryShown))
def show_memory(context: _Here) -> dict[str, str]:
    """Report why memory can neither be stored nor restored here; empty when it can."""
    return {"problem": context.containers.checkpoints.problem()}


@post("/v1/containers", status_code=202, opt=described(body=SentVhost, answer=Begun, example=_EXAMPLE))
async def create_container(context: _Here, request: _Asked) -> _Begun:
    """Make the container whose vhost.toml, as JSON, is the body; return the operation that does it."""
    document = await _document(await table_of(request))
    return context.begin("create", document.value.id, lambda report: context.containers.create(document, report))


@post("/v1/containers/{name:str}/update", status_code=202, opt=described(body=SentVhost, answer=Begun, names=_NAMES))
async def update_container(context: _Here, request: _Asked, name: FromPath[str]) -> _Begun:
    """Change a container to what the vhost.toml in the body says; return the operation that does it."""
    document = await _document(await table_of(request))
    if document.value.id != name:
        said = f"id is {document.value.id}, and the container is {name}"
        raise ConflictError(said, hint="a container keeps its name; make another")

    def work(report: Report) -> dict[str, Any]:
        record, changed = context.containers.update(document, report)
        return {**context.shown(record), "changed": changed}

    return context.begin("update", name, work)


@delete("/v1/containers/{name:str}", status_code=202, sync_to_thread=True, opt=described(answer=Begun, names=_NAMES))
def delete_container(context: _Here, name: FromPath[str], seconds: FromQuery[int] = STOP_SECONDS) -> _Begun:
    """Delete a container; return the operation that does it."""
    context.containers.store.get(name)

    def work(report: Report) -> dict[str, Any]:
        context.containers.delete(name, min(max(seconds, 0), LONGEST_STOP), report)
        return {"id": name}

    return context.begin("delete", name, work)


@post("/v1/containers/{name:str}/start", status_code=202, sync_to_thread=True, opt=described(answer=Begun, names=_NAMES))
def start_container(context: _Here, name: FromPath[str]) -> _Begun:
    """Start a container; return the operation that does it."""
    return context.begin("start", name, lambda report: context.containers.start(name, report))


@post("/v1/containers/{name:str}/stop", status_code=202, opt=described(body=StopRequest, answer=Begun, names=_NAMES))
async def stop_container(context: _Here, request: _Asked, name: FromPath[str]) -> _Begun:
    """Stop a container; return the operation that does it."""
    asked = await _body(request, StopRequest)
    return context.begin("stop", name, lambda report: context.containers.stop(name, asked.seconds, report))


@post("/v1/containers/{name:str}/kill", status_code=202, opt=described(body=KillRequest, answer=Begun, names=_NAMES))
async def kill_container(context: _Here, request: _Asked, name: FromPath[str]) -> _Begun:
    """Send a signal to a container; return the operation that does it."""
    asked = await _body(request, KillRequest)
    return context.begin("kill", name, lambda _: context.containers.kill(name, parse_signal(asked.signal)))


@post("/v1/containers/{name:str}/rollback", status_code=202, sync_to_thread=True, opt=described(answer=Begun, names=_NAMES))
def rollback_container(context: _Here, name: FromPath[str]) -> _Begun:
    """Return a container to its former revision; return the operation that does it."""
    return context.begin("rollback", name, lambda report: context.containers.rollback(name, report))


@post("/v1/containers/{name:str}/checkpoint", status_code=202, opt=described(body=StoreRequest, answer=Begun, names=_NAMES))
async def checkpoint_container(context: _Here, request: _Asked, name: FromPath[str]) -> _Begun:
    """Store a container as an image; return the operation that does it."""
    asked = await _body(request, StoreRequest)
    return context.begin("checkpoint", name, lambda report: context.moves.checkpoint(name, asked.ref, report, live=asked.live))


@post("/v1/containers/{name:str}/push", status_code=202, opt=described(body=StoreRequest, answer=Begun, names=_NAMES))
async def push_container(context: _Here, request: _Asked, name: FromPath[str]) -> _Begun:
    """Store a container as an image, and push that to its registry; return the operation that does it."""
    asked = await _body(request, StoreRequest)
    return context.begin("push", name, lambda report: context.moves.push(name, asked.ref, report))


@post("/v1/restore", status_code=202, opt=described(body=RestoreRequest, answer=Begun))
async def restore_container(context: _Here, request: _Asked) -> _Begun:
    """Make a container from a checkpoint; return the operation that does it."""
    asked = await _body(request, RestoreRequest)
    return context.begin("restore", str(asked.image), lambda report: context.moves.restore(asked, report))


@post("/v1/containers/{name:str}/migrate", status_code=202, opt=described(body=MigrateRequest, answer=Begun, names=_NAMES))
async def migrate_container(context: _Here, request: _Asked, name: FromPath[str]) -> _Begun:
    """Move a container to another agent; return the operation that does it."""
    asked = await _body(request, MigrateRequest)
    target = Client(asked.to, token=asked.token, port=API_PORT, service=AGENT)
    return context.begin("migrate", name, lambda report: context.moves.migrate(name, target, asked, report))


async def _document(raw: Mapping[str, Any]) -> Document[Vhost]:
    """Read a vhost.toml in a thread: there may be much to check, and other requests must not wait."""
    return await to_thread.run_sync(lambda: received_document(raw, SentVhost, Vhost, source=_SOURCE))


async def _body(request: _Asked, model: type[_Model]) -> _Model:
    return make_document(await table_of(request), model, source="request").value
