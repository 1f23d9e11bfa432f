"""The OpenAPI document of a daemon: its routes with their bodies, answers and words, from models and docstrings.

A route says what goes in and comes out of it by :func:`described`. Litestar's own document knows neither, because bodies are
checked by Terra's models, which tell every problem at once, and answers are made of records.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Annotated, Any, get_args, get_origin

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.routes import HTTPRoute

from terra_core.config.schema import Schema, schema_of, summary_of
from terra_core.service.access import Roles, role_for
from terra_core.service.answers import ProblemDocument
from terra_core.service.passing import Leader
from terra_core.system.progress import Event

_JSON = "application/json"
_PROBLEM = "application/problem+json"
_EVENTS = "text/event-stream"
_WORDS = {str: "string", int: "integer", bool: "boolean"}
_UNDESCRIBED = ("/schema", "/metrics")
_OPEN = "/healthz"
"""What needs no token."""


def described(
    *,
    body: Any = None,  # models, or types of them
    answer: Any = None,
    tables: bool = False,
    example: Mapping[str, Any] | None = None,
    names: Mapping[str, str] | None = None,
    asks: bool = False,
    anywhere: bool = False,
    leader: Leader = Leader.NOTHING,
) -> dict[str, Any]:
    """Return what a route's decorator takes as ``opt``.

    :param body: the model of the request's body.
    :param answer: the model of the answer; ``Event`` for a stream of events.
    :param tables: whether the body may have the tables of plugins besides.
    :param example: a body.
    :param names: an example of each parameter of the path.
    :param asks: whether it changes nothing, whatever its method: it has no place in an audit log.
    :param anywhere: whether a daemon does it that may change nothing else now.
    :param leader: what the host that leads has to do with it, where several have one database; every other change is its.
    """
    words = {"body": body, "answer": answer, "tables": tables, "example": example, "names": names or {}}
    return {**words, "asks": asks, "anywhere": anywhere, "leader": leader}


class Described(JsonRenderPlugin):
    """Renders the document at ``/schema/openapi.json``."""

    def render(self, request: Any, openapi_schema: dict[str, Any]) -> bytes:  # Litestar's Request of any state
        """Return the document: title and version from Litestar, all else from the routes."""
        return self.render_json(request, {**openapi_schema, **describe(request.app)})


def describe(application: Litestar) -> dict[str, Any]:
    """Return the paths and components of an application's OpenAPI document."""
    models: dict[str, Schema] = {}
    roles: Roles = application.opt.get("roles", {})
    paths: dict[str, dict[str, Schema]] = {}
    for route in application.routes:
        if isinstance(route, HTTPRoute) and not route.path.startswith(_UNDESCRIBED):
            for handler in route.route_handlers:
                for method in sorted(handler.http_methods - {"OPTIONS"}):
                    operation = _operation(route.path_format, handler, models)
                    if roles and route.path_format != _OPEN:
                        needed = f"Needs a token of the role {role_for(roles, method, route.path_format).value}."
                        operation["description"] = "\n\n".join(filter(None, (operation.get("description"), needed)))
                    paths.setdefault(route.path_format, {})[method.lower()] = operation
    bearer = {"type": "http", "scheme": "bearer", "description": "The token of the daemon; /healthz needs none."}
    components = {"schemas": dict(sorted(models.items())), "securitySchemes": {"token": bearer}}
    return {"paths": dict(sorted(paths.items())), "components": components, "security": [{"token": []}]}


def _operation(path: str, handler: HTTPRouteHandler, models: dict[str, Schema]) -> Schema:
    function = handler.fn
    while hasattr(function, "func"):  # Litestar's wrapper for a thread, once for each application that has had the route
        function = function.func
    summary, more = summary_of(function)
    options = handler.opt
    answer: Schema = {"description": summary}
    if options.get("answer") is Event:
        schema_of(Event, models)
        said = (
            "Server-sent events: progress, whose data is an Event; at last result, or problem, whose data is a ProblemDocument."
        )
        answer = {"description": said, "content": {_EVENTS: {"schema": {"type": "string"}}}}
    elif options.get("answer") is not None:
        answer["content"] = {_JSON: {"schema": schema_of(options["answer"], models)}}
    problem = {_PROBLEM: {"schema": schema_of(ProblemDocument, models)}}
    problems = {str(int(status)): {"description": said, "content": problem} for status, said in _problems(path, options)}
    operation: Schema = {
        "summary": summary.rstrip("."),
        "operationId": function.__name__.lstrip("_"),
        "responses": {
            str(handler.status_code): answer,
            **problems,
            "default": {"description": "What went wrong.", "content": problem},
        },
    }
    if more:
        operation["description"] = more
    if parameters := list(_parameters(path, function, options.get("names") or {})):
        operation["parameters"] = parameters
    if path == _OPEN:
        operation["security"] = []
    if (body := options.get("body")) is not None:
        schema = schema_of(body, models)
        if options.get("tables"):
            models[body.__name__]["additionalProperties"] = {"type": "object", "description": "The table of a plugin."}
        example = {"example": options["example"]} if options.get("example") else {}
        operation["requestBody"] = {"required": True, "content": {_JSON: {"schema": schema, **example}}}
    return operation


def _problems(path: str, options: Mapping[str, Any]) -> Iterable[tuple[int, str]]:
    """Yield the statuses of problems that a route is known to answer with; there may be others."""
    if path != _OPEN:
        yield HTTPStatus.UNAUTHORIZED, "The token is missing, or is none of this daemon's."
        yield HTTPStatus.FORBIDDEN, "The role of the token is not enough."
    if "{" in path:
        yield HTTPStatus.NOT_FOUND, "There is none of this name."
    if options.get("body") is not None:
        yield HTTPStatus.BAD_REQUEST, "The body is no JSON."
        yield HTTPStatus.CONFLICT, "What is asked for is held by something else, which the answer names."
        yield HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The body is larger than a daemon reads."
        yield HTTPStatus.UNPROCESSABLE_ENTITY, "The body is not what it has to be; the answer has every problem of it."


def _parameters(path: str, function: Any, names: Mapping[str, str]) -> Iterable[Mapping[str, Any]]:  # any handler
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        if f"{{{name}}}" in path:
            example = {"example": names[name]} if name in names else {}
            yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, **example}
            continue
        kind = get_args(parameter.annotation)[0] if get_origin(parameter.annotation) is Annotated else parameter.annotation
        if kind in _WORDS and parameter.default is not parameter.empty:
            schema = {"type": _WORDS[kind], "default": parameter.default}
            yield {"name": name, "in": "query", "required": False, "schema": schema}
