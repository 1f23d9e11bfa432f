"""The agent's HTTP API: requests in, use cases called, JSON out."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from litestar import Litestar, Request, delete, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath

from terra_core.client import Client
from terra_core.config.loader import make_document
from terra_core.service.application import make_application
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
from terra_orbit.agent.requests import KillRequest, MigrateRequest, RestoreRequest, StopRequest, StoreRequest
from terra_orbit.agent.store import Record
from terra_orbit.service import AGENT
from terra_orbit.vhost import Vhost

_SOURCE = "vhost.toml"


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


def make_api(context: Context, health: Health, token: str) -> Litestar:
    """The agent's application."""
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
        run_program,
        show_logs,
        *OPERATION_ROUTES,
    ]
    return make_application(
        title="Orbit agent",
        routes=routes,
        token=token,
        metrics=Metrics(context.overview, context.containers.store, health, context.operations).registry,
        dependencies={
            "context": Provide(lambda: context, sync_to_thread=False),
            "containers": Provide(lambda: context.containers, sync_to_thread=False),
            "operations": Provide(lambda: context.operations, sync_to_thread=False),
        },
    )


@get("/v1/containers", sync_to_thread=True)
def list_containers(context: NamedDependency[Context]) -> list[dict[str, Any]]:
    """Every container, with how it does."""
    return context.overview.all()


@get("/v1/containers/{name:str}", sync_to_thread=True)
def show_container(context: NamedDependency[Context], name: FromPath[str]) -> dict[str, Any]:
    """One container, with all that is known of it."""
    return context.overview.one(name)


@post("/v1/containers", status_code=202)
async def create_container(context: NamedDependency[Context], request: Request[Any, Any, Any]) -> dict[str, str]:
    """Make the container whose vhost.toml, as JSON, is the body; gives the operation that does it."""
    document = make_document(await table_of(request), Vhost, source=_SOURCE)
    work = context.containers.create
    return begun(
        context.operations.start("create", document.value.id, lambda report: _shown(context, work(document, report)))
    )


@post("/v1/containers/{name:str}/update", status_code=202)
async def update_container(
    context: NamedDependency[Context], request: Request[Any, Any, Any], name: FromPath[str]
) -> dict[str, str]:
    """Let a container be what the vhost.toml in the body says; gives the operation that does it."""
    raw = {**await table_of(request), "id": name}
    document = make_document(raw, Vhost, source=_SOURCE)

    def work(report: Report) -> dict[str, Any]:
        record, changed = context.containers.update(document, report)
        return {**_shown(context, record), "changed": changed}

    return begun(context.operations.start("update", name, work))


@delete("/v1/containers/{name:str}", status_code=202, sync_to_thread=True)
def delete_container(context: NamedDependency[Context], name: FromPath[str], seconds: int = STOP_SECONDS) -> dict[str, str]:
    """Take a container away; gives the operation that does it."""
    context.containers.store.get(name)

    def work(report: Report) -> dict[str, Any]:
        context.containers.delete(name, _bounded(seconds), report)
        return {"id": name}

    return begun(context.operations.start("delete", name, work))


@post("/v1/containers/{name:str}/start", status_code=202, sync_to_thread=True)
def start_container(context: NamedDependency[Context], name: FromPath[str]) -> dict[str, str]:
    """Start a container; gives the operation that does it."""
    work = context.containers.start
    return begun(context.operations.start("start", name, lambda report: _shown(context, work(name, report))))


@post("/v1/containers/{name:str}/stop", status_code=202)
async def stop_container(
    context: NamedDependency[Context], request: Request[Any, Any, Any], name: FromPath[str]
) -> dict[str, str]:
    """Stop a container; gives the operation that does it."""
    asked = make_document(await table_of(request), StopRequest, source="request").value
    work = context.containers.stop
    return begun(context.operations.start("stop", name, lambda report: _shown(context, work(name, asked.seconds, report))))


@post("/v1/containers/{name:str}/kill", status_code=202)
async def kill_container(
    context: NamedDependency[Context], request: Request[Any, Any, Any], name: FromPath[str]
) -> dict[str, str]:
    """Send a signal to a container; gives the operation that does it."""
    asked = make_document(await table_of(request), KillRequest, source="request").value
    work = context.containers.kill
    return begun(context.operations.start("kill", name, lambda _: _shown(context, work(name, asked.signal))))


@post("/v1/containers/{name:str}/rollback", status_code=202, sync_to_thread=True)
def rollback_container(context: NamedDependency[Context], name: FromPath[str]) -> dict[str, str]:
    """Return a container to its former revision; gives the operation that does it."""
    work = context.containers.rollback
    return begun(context.operations.start("rollback", name, lambda report: _shown(context, work(name, report))))


@post("/v1/containers/{name:str}/checkpoint", status_code=202)
async def checkpoint_container(
    context: NamedDependency[Context], request: Request[Any, Any, Any], name: FromPath[str]
) -> dict[str, str]:
    """Store a container as an image; gives the operation that does it."""
    asked = make_document(await table_of(request), StoreRequest, source="request").value
    work = context.moves.checkpoint
    return begun(context.operations.start("checkpoint", name, lambda report: work(name, asked.ref, report, live=asked.live)))


@post("/v1/containers/{name:str}/push", status_code=202)
async def push_container(
    context: NamedDependency[Context], request: Request[Any, Any, Any], name: FromPath[str]
) -> dict[str, str]:
    """Store a container as an image, and give that to its registry; gives the operation that does it."""
    asked = make_document(await table_of(request), StoreRequest, source="request").value
    return begun(context.operations.start("push", name, lambda report: context.moves.push(name, asked.ref, report)))


@post("/v1/restore", status_code=202)
async def restore_container(context: NamedDependency[Context], request: Request[Any, Any, Any]) -> dict[str, str]:
    """Make a container of a checkpoint; gives the operation that does it."""
    asked = make_document(await table_of(request), RestoreRequest, source="request").value

    def work(report: Report) -> dict[str, Any]:
        return _shown(context, context.moves.restore(asked.image, report, name=asked.id, macs=asked.macs))

    return begun(context.operations.start("restore", str(asked.image), work))


@post("/v1/containers/{name:str}/migrate", status_code=202)
async def migrate_container(
    context: NamedDependency[Context], request: Request[Any, Any, Any], name: FromPath[str]
) -> dict[str, str]:
    """Move a container to another agent; gives the operation that does it."""
    asked = make_document(await table_of(request), MigrateRequest, source="request").value
    target = Client(asked.to, token=asked.token, port=API_PORT, service=AGENT)
    work = context.moves.migrate
    return begun(context.operations.start("migrate", name, lambda report: work(name, target, asked.ref, report)))


def _shown(context: Context, record: Record) -> dict[str, Any]:
    addresses = [one for attachment in context.containers.store.attachments(record) for one in attachment.addresses]
    return {"id": record.id, "state": record.state.value, "revision": record.revision, "addresses": addresses}


def _bounded(seconds: int) -> int:
    return min(max(seconds, 0), 3600)
