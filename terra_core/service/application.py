"""The HTTP application of a daemon: its routes behind the token, readiness, metrics and the API's description."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from litestar import Litestar, Response, get
from litestar.config.app import AppConfig
from litestar.enums import ScopeType
from litestar.openapi import OpenAPIConfig
from litestar.types import ASGIApp, ControllerRouterHandler, Receive, Scope, Send
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from terra_core.service.description import Described, described
from terra_core.service.problems import HANDLERS, answer

BODY_LIMIT = 1024 * 1024
"""The largest request body that is read, in bytes."""


def make_application(
    *,
    title: str,
    routes: Sequence[ControllerRouterHandler],
    token: str,
    metrics: CollectorRegistry,
    dependencies: dict[str, Any],
    degraded: Callable[[], Collection[str]] = tuple,
) -> Litestar:
    """Return the application that a daemon serves.

    :param title: the API's name in its description.
    :param routes: the daemon's own handlers.
    :param token: what every request but ``/healthz`` has to bear.
    :param metrics: what ``/metrics`` shows.
    :param dependencies: what handlers may ask for by name.
    :param degraded: gives what the daemon needs and does not have now, in words that anybody may read.
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
    application = Litestar.from_config(
        AppConfig(
            route_handlers=[healthz, show_metrics, *routes],
            dependencies=dependencies,
            exception_handlers=HANDLERS,
            openapi_config=config,
            request_max_body_size=BODY_LIMIT,
        )
    )
    # Around the router: middleware would leave what is not found, and thereby which paths there are, to everybody.
    application.asgi_handler = _guarded(application.asgi_handler, token)
    return application


_MISSING = ("this API needs its token", "set TERRA_TOKEN")
_WRONG = (
    "the token is not the one of this API",
    "TERRA_TOKEN, or this machine's own token where it is not set, is another daemon's: take that of the machine that answers",
)


def _guarded(app: ASGIApp, token: str) -> ASGIApp:
    """Return an application that answers 401 to requests without the token, before a byte of their body is read."""
    expected = token.encode()

    async def guard(scope: Scope, receive: Receive, send: Send) -> None:
        scheme, _, given = dict(scope["headers"]).get(b"authorization", b"").partition(b" ")
        right = scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(b" "), expected)  # RFC 9110, section 11.1
        if scope["path"] == "/healthz" or right:
            await app(scope, receive, send)
            return
        detail, hint = _WRONG if given else _MISSING
        refusal = answer({"status": 401, "title": "Unauthorized", "detail": detail, "hint": hint})
        refusal.headers["WWW-Authenticate"] = "Bearer"
        await refusal.to_asgi_response(app=None, request=_request_of(scope))(scope, receive, _denying(scope, send))

    return guard


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
