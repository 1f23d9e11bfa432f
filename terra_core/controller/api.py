"""The controller's HTTP API: requests in, use cases called, JSON out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from anyio import to_thread
from attrs import frozen
from litestar import Litestar, Request, delete, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath
from litestar.response import ServerSentEvent, ServerSentEventMessage

from terra_core.config.loader import config_error, make_document
from terra_core.config.node import Node, provision_problems
from terra_core.config.structure import Problem
from terra_core.config.values import ImageReference
from terra_core.controller.machines import Machines, Services
from terra_core.controller.metrics import Metrics
from terra_core.controller.operations import Operation, Operations
from terra_core.errors import ConfigError
from terra_core.service.application import make_application

_PATIENCE_SECONDS = 10.0


@frozen(kw_only=True)
class PxeRequest:
    """The body of ``POST /v1/pxe``.

    :param image: the pxe image to install.
    """

    image: ImageReference


@frozen(kw_only=True)
class Context:
    """What the handlers work with.

    :param services: the controller's parts.
    :param machines: its use cases.
    :param operations: its long work.
    """

    services: Services
    machines: Machines
    operations: Operations


def make_api(context: Context, token: str) -> Litestar:
    """The controller's application."""
    return make_application(
        title="Terra controller",
        routes=[
            list_nodes,
            show_node,
            provision_node,
            delete_node,
            install_pxe,
            show_info,
            list_operations,
            show_operation,
            follow_operation,
            cancel_operation,
        ],
        token=token,
        metrics=Metrics(context.services.store, context.operations).registry,
        dependencies={"context": Provide(lambda: context, sync_to_thread=False)},
    )


@get("/v1/nodes", sync_to_thread=True)
def list_nodes(context: NamedDependency[Context]) -> list[dict[str, Any]]:
    """Every machine, with where it stands."""
    return [
        {**record.as_json(), "state": record.state.value, "problem": record.problem} for record in context.services.store.all()
    ]


@get("/v1/nodes/{hostname:str}", sync_to_thread=True)
def show_node(context: NamedDependency[Context], hostname: FromPath[str]) -> dict[str, Any]:
    """One machine."""
    return context.services.store.get(hostname).as_json()


@post("/v1/nodes", status_code=202)
async def provision_node(context: NamedDependency[Context], request: Request[Any, Any, Any]) -> dict[str, str]:
    """Provision the machine whose node.toml, as JSON, is the body; gives the operation that does it."""
    raw = await _table(request)
    document = make_document(raw, Node, source="node.toml", owners=context.services.plugins.names)
    problems = list(provision_problems(document.value))
    if problems:
        raise config_error("node.toml", problems)
    record = await to_thread.run_sync(context.machines.reserve, document)  # the database may let it wait
    return _begun(
        context.operations.start("provision", record.node.hostname, lambda report: context.machines.provision(record, report))
    )


@delete("/v1/nodes/{hostname:str}", status_code=202, sync_to_thread=True)
def delete_node(context: NamedDependency[Context], hostname: FromPath[str]) -> dict[str, str]:
    """Take a machine away; gives the operation that does it."""
    record = context.services.store.begin_delete(hostname)
    return _begun(context.operations.start("delete", hostname, lambda report: context.machines.delete(record, report)))


@post("/v1/pxe", status_code=202)
async def install_pxe(context: NamedDependency[Context], request: Request[Any, Any, Any]) -> dict[str, str]:
    """Install the network boot loaders of an image; gives the operation that does it."""
    wanted = make_document(await _table(request), PxeRequest, source="request").value
    return _begun(
        context.operations.start(
            "pxe", str(wanted.image), lambda report: context.machines.install_boot_image(wanted.image, report)
        )
    )


@get("/v1/info", sync_to_thread=True)
def show_info(context: NamedDependency[Context]) -> dict[str, Any]:
    """What the controller is and does."""
    services = context.services
    states = [record.state.value for record in services.store.all()]
    return {
        "address": services.config.address,
        "port": services.config.port,
        "gateway": services.config.gateway,
        "portal": services.config.portal,
        "root": str(services.session.places.root),
        "nodes": {state: states.count(state) for state in sorted(set(states))},
        "plugins": {name: services.role(name).installed.name for name in ("registry", "filesystem", "storage", "boot")},
    }


@get("/v1/operations", sync_to_thread=False)
def list_operations(context: NamedDependency[Context]) -> list[dict[str, Any]]:
    """The operations that are remembered, oldest first."""
    return [operation.as_json() for operation in context.operations.all()]


@get("/v1/operations/{identity:str}", sync_to_thread=False)
def show_operation(context: NamedDependency[Context], identity: FromPath[str]) -> dict[str, Any]:
    """One operation."""
    return context.operations.get(identity).as_json()


@get("/v1/operations/{identity:str}/events", sync_to_thread=True)
def follow_operation(context: NamedDependency[Context], identity: FromPath[str]) -> ServerSentEvent:
    """An operation's progress as server-sent events, from its beginning to its ``result`` or ``problem``."""
    return ServerSentEvent(_stream(context.operations.get(identity)))


@delete("/v1/operations/{identity:str}", status_code=202, sync_to_thread=False)
def cancel_operation(context: NamedDependency[Context], identity: FromPath[str]) -> dict[str, Any]:
    """Ask an operation to end and to undo what it did."""
    return context.operations.cancel(identity).as_json()


def _stream(operation: Operation) -> Iterator[ServerSentEventMessage]:
    for message in operation.messages(_PATIENCE_SECONDS):
        if message is None:
            yield ServerSentEventMessage(comment="still at it")
        else:
            yield ServerSentEventMessage(event=message.kind, data=json.dumps(message.data))


def _begun(operation: Operation) -> dict[str, str]:
    return {"operation": operation.id}


async def _table(request: Request[Any, Any, Any]) -> Mapping[str, Any]:
    raw = await request.json()
    if not isinstance(raw, dict):
        raise ConfigError([f"request: {Problem('', 'expected a JSON object')}"])
    return raw
