"""The routes by which a daemon's long work is begun, followed and cancelled; they ask for the dependency ``operations``."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from litestar import Request, delete, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import ServerSentEventMessage, Stream

from terra_core.config.structure import Problem
from terra_core.errors import ConfigError
from terra_core.service.answers import OperationShown
from terra_core.service.audit import note
from terra_core.service.description import described
from terra_core.service.operations import Operation, Operations
from terra_core.service.passing import Leader
from terra_core.system.progress import Event

_PATIENCE_SECONDS = 10.0


def begun(operation: Operation) -> dict[str, str]:
    """Return the answer to a request that begins long work."""
    return {"operation": operation.id}


async def table_of(request: Request[Any, Any, Any]) -> Mapping[str, Any]:
    """Return the body of a request, which has to be a JSON object."""
    raw = await request.json()
    if not isinstance(raw, dict):
        raise ConfigError([f"request: {Problem('', 'expected a JSON object')}"])
    return raw


@get("/v1/operations", sync_to_thread=False, opt=described(answer=Sequence[OperationShown], leader=Leader.BETTER))
def list_operations(operations: NamedDependency[Operations]) -> list[dict[str, Any]]:
    """List the operations that are remembered, oldest first."""
    return [operation.as_json() for operation in operations.all()]


@get("/v1/operations/{identity:str}", sync_to_thread=False, opt=described(answer=OperationShown, leader=Leader.NEEDED))
def show_operation(operations: NamedDependency[Operations], identity: FromPath[str]) -> dict[str, Any]:
    """Show one operation."""
    return operations.get(identity).as_json()


@get("/v1/operations/{identity:str}/events", media_type="text/event-stream", opt=described(answer=Event, leader=Leader.NEEDED))
async def follow_operation(operations: NamedDependency[Operations], identity: FromPath[str]) -> Stream:
    """Follow an operation as server-sent events, from its beginning to its ``result`` or ``problem``."""
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}  # the second for a proxy (nginx) in between
    return Stream(_stream(operations.get(identity)), media_type="text/event-stream", headers=headers)


@delete(
    "/v1/operations/{identity:str}",
    status_code=202,
    sync_to_thread=False,
    opt=described(answer=OperationShown, anywhere=True, leader=Leader.NEEDED),
)
def cancel_operation(operations: NamedDependency[Operations], identity: FromPath[str]) -> dict[str, Any]:
    """Ask an operation to end and to undo what it did."""
    operation = operations.get(identity)
    note("cancel", operation.subject, f"{operation.kind} {identity}")
    return operations.cancel(identity).as_json()


async def _stream(operation: Operation) -> AsyncIterator[bytes]:
    async for message in operation.messages(_PATIENCE_SECONDS):
        if message is None:
            yield ServerSentEventMessage(comment="still at it", data=None).encode()
        else:
            yield ServerSentEventMessage(event=message.kind, data=json.dumps(message.data)).encode()


OPERATION_ROUTES = (list_operations, show_operation, follow_operation, cancel_operation)
