"""The HTTP application of a daemon: its routes behind the token, readiness, metrics and the API's description."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from types import MappingProxyType
from typing import Any, cast

from anyio import to_thread
from litestar import Litestar, Response, get
from litestar.config.app import AppConfig
from litestar.connection import ASGIConnection
from litestar.enums import ScopeType
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.types import ASGIApp, ControllerRouterHandler, Receive, Scope, Send
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from terra_core.errors import ForbiddenError, TerraError
from terra_core.service.access import Caller, Gate, Role, Roles, TokenRefused, address_of, bearer_of, role_for
from terra_core.service.audit import UNSAFE, Change, Journal, enter
from terra_core.service.description import Described, described
from terra_core.service.passing import VIA, Leader, Passing, is_marked, leader_of
from terra_core.service.problems import HANDLERS, answer, describe, methods_at
from terra_core.system.imports import absent
from terra_core.system.text import one_line

BODY_LIMIT = 1024 * 1024
"""The largest request body that is read, in bytes."""
_CHANGE = "terra.change"
_LONGEST_PATH = 200


def _always() -> None:
    """Take every change."""


def make_application(
    *,
    title: str,
    routes: Sequence[ControllerRouterHandler],
    gate: Gate,
    metrics: CollectorRegistry,
    dependencies: dict[str, Any],
    degraded: Callable[[], Collection[str]] = tuple,
    roles: Roles = MappingProxyType({}),
    journal: Journal | None = None,
    changing: Callable[[], None] = _always,
    passing: Passing | None = None,
    body_limit: int = BODY_LIMIT,
    lifespan: Sequence[Callable[[Litestar], AbstractAsyncContextManager[Any]]] = (),
) -> Litestar:
    """Return the application that a daemon serves.

    :param title: the API's name in its description.
    :param routes: the daemon's own handlers.
    :param gate: recognises the token that every request but ``/healthz`` has to bear.
    :param metrics: what ``/metrics`` shows.
    :param dependencies: what handlers may ask for by name.
    :param degraded: gives what the daemon needs and does not have now, in words that anybody may read.
    :param roles: the role that each route needs.
    :param journal: keeps changes and refusals; nobody does when left out.
    :param changing: raises to refuse changes now, and may wait for a database; every change is taken when left out.
    :param passing: passes requests on to the host that leads, and takes those that another one has passed on; neither is done
        when left out.
    :param body_limit: the largest request body that is read, in bytes.
    :param lifespan: what is there as long as requests are served.
    """

    @get("/healthz", sync_to_thread=False, opt=described(answer=Mapping[str, Any]))
    def healthz() -> dict[str, Any]:
        """Report whether the daemon serves requests, and which of its services do not work; needs no token."""
        missing = sorted(degraded())
        return {"status": "degraded", "degraded": missing} if missing else {"status": "ok"}

    @get("/metrics", sync_to_thread=True, include_in_schema=False)  # the database may let it wait
    def show_metrics() -> Response[bytes]:
        return Response(generate_latest(metrics), media_type=CONTENT_TYPE_LATEST)

    config = OpenAPIConfig(
        title=title, version=version("terra-core"), path="/schema", render_plugins=[Described(path="/openapi.json")]
    )
    with absent("pydantic"):  # for models that no route here has
        application = Litestar.from_config(
            AppConfig(
                route_handlers=[healthz, show_metrics, *routes],
                dependencies=dependencies,
                exception_handlers=HANDLERS,
                openapi_config=config,
                request_max_body_size=body_limit,
                guards=[_allowing(roles, journal, changing)],
                middleware=[] if passing is None else [_passing_on(passing, roles, journal)],
                lifespan=list(lifespan),
                opt={"roles": roles},
            )
        )
    # Around the router: middleware does not see requests for unknown paths, so that anybody could find out which exist.
    application.asgi_handler = _guarded(application.asgi_handler, gate, journal, passing)
    return application


_MISSING = ("this API needs its token", "set TERRA_TOKEN, or TERRA_TOKEN_FILE to a file that holds it")
_WRONG = (
    "the token is not the one of this API",
    "TERRA_TOKEN, or this machine's own token where it is not set, is another daemon's: take that of the machine that answers",
)


def _guarded(app: ASGIApp, gate: Gate, journal: Journal | None, passing: Passing | None) -> ASGIApp:
    """Return an application that answers 401 to requests without a token, before a byte of their body is read."""

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        found, given = bearer_of(scope)
        caller, (detail, hint) = None, _WRONG if given else _MISSING
        document: dict[str, object] | None = None
        try:
            if passing is not None and scope["path"] != "/healthz" and is_marked(scope):
                caller = await passing.admit(scope, found)
            elif given:
                caller = gate.recognise(found)
        except TokenRefused as error:
            detail, hint = error.message, error.hint
        except TerraError as error:
            document = describe(error)
        if scope["path"] == "/healthz" or caller is not None:
            scope["user"] = caller
            await app(scope, receive, _naming_methods(scope, send if journal is None else _recording(scope, send)))
            return
        if journal is not None:
            journal.refused(401, "", address_of(scope), _asked(scope))
        refusal = answer(document or {"status": 401, "title": "Unauthorized", "detail": detail, "hint": hint})
        if document is None:
            refusal.headers["WWW-Authenticate"] = "Bearer"
        await refusal.to_asgi_response(app=None, request=_request_of(scope))(scope, receive, _denying(scope, send))

    return guard


def _allowing(
    roles: Roles, journal: Journal | None, changing: Callable[[], None]
) -> Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], Any]:
    """Return the guard of every route: the token's role has to cover the route's, and a change is written down first."""

    async def allow(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        scope = connection.scope
        caller: Caller | None = scope["user"]
        if caller is None or scope["path"] == "/healthz":  # which anybody may ask, with a token too
            return
        method = str(scope.get("method", "GET"))
        _require_role(scope, caller, roles, journal)
        if method not in UNSAFE or handler.opt.get("asks"):
            return
        if not handler.opt.get("anywhere"):
            await to_thread.run_sync(changing)
        if journal is not None:
            change = Change(
                who=caller.name,
                role=caller.role.value,
                address=address_of(scope),
                method=method,
                path=_asked(scope).partition(" ")[2],
                action=handler.handler_name.lstrip("_").replace("_", " "),
                subject=str(next(iter(connection.path_params.values()), ""))[:_LONGEST_PATH],
                journal=journal,
            )
            await to_thread.run_sync(change.begin)
            enter(change)
            cast("dict[str, Any]", scope)[_CHANGE] = change

    return allow


def _require_role(scope: Scope, caller: Caller, roles: Roles, journal: Journal | None) -> None:
    """Check that who sent a request may do what its route does.

    :raises ForbiddenError: when that takes another role.
    """
    method = str(scope.get("method", "GET"))
    wanted = Role.READ if method == "OPTIONS" else role_for(roles, method, scope["path_template"])
    if not caller.role.covers(wanted):
        if journal is not None:
            journal.refused(403, caller.name, address_of(scope), _asked(scope))
        raise ForbiddenError(
            f"the token {caller.name!r} has the role {caller.role.value}; this needs the role {wanted.value}",
            hint=f"ask whoever runs the controller for another: terra token create NAME --role {wanted.value}",
        )


def _passing_on(passing: Passing, roles: Roles, journal: Journal | None) -> Callable[[ASGIApp], ASGIApp]:
    """Return the middleware that lets the host that leads answer what it alone, or it better, can answer."""

    def wrap(app: ASGIApp) -> ASGIApp:
        async def middle(scope: Scope, receive: Receive, send: Send) -> None:
            caller: Caller | None = scope["user"]
            wanted = leader_of(str(scope.get("method", "")), scope["route_handler"].opt, UNSAFE)
            if scope["type"] == ScopeType.HTTP and caller is not None and wanted is not Leader.NOTHING and VIA not in scope:
                _require_role(scope, caller, roles, journal)  # here already: nobody else is to be asked in vain
                own = await passing.pass_on(scope, receive, send, needed=wanted is Leader.NEEDED)
                if own is None:
                    return
                receive = own
            await app(scope, receive, send)

        return middle

    return wrap


def _recording(scope: Scope, send: Send) -> Send:
    """Return a ``send`` that writes down what became of a change before its client is told."""

    async def record(message: Any) -> None:  # any message of ASGI
        change = cast("dict[str, Any]", scope).get(_CHANGE)
        if change is not None and message["type"] == "http.response.start":
            await to_thread.run_sync(change.answered, message["status"])
        await send(message)

    return record


def _asked(scope: Scope) -> str:
    """Return the method and the path of a request as one line without a query, which may hold anything."""
    return one_line(f"{scope.get('method', 'GET')} {scope['path'][:_LONGEST_PATH]}")


def _naming_methods(scope: Scope, send: Send) -> Send:
    """Return a ``send`` that names all methods of a path in the answer to OPTIONS; Litestar names those of one route."""
    if scope.get("method") != "OPTIONS":
        return send

    async def name(message: Any) -> None:  # any message of ASGI
        if message["type"] == "http.response.start" and message["status"] == 204:
            others = [header for header in message["headers"] if header[0].lower() != b"allow"]
            message = {**message, "headers": [*others, (b"allow", ", ".join(methods_at(_request_of(scope))).encode())]}
        await send(message)

    return name


def _denying(scope: Scope, send: Send) -> Send:
    """Return a ``send`` by which a response refuses a WebSocket, too (ASGI's extension "WebSocket Denial Response")."""
    if scope["type"] != ScopeType.WEBSOCKET:
        return send

    async def deny(message: Any) -> None:  # the messages of HTTP, which differ in their names only
        renamed: Any = {**message, "type": f"websocket.{message['type']}"}
        await send(renamed)

    return deny


def _request_of(scope: Scope) -> Any:  # Litestar types requests by the user and state that they carry
    from litestar import Request

    return Request(scope)
