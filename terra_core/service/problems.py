"""Errors as problem documents (RFC 9457)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, SerializationException
from litestar.routes import HTTPRoute

from terra_core.errors import (
    ConfigError,
    ConflictError,
    ForbiddenError,
    InterruptedWork,
    NotFoundError,
    TerraError,
    UnavailableError,
    error_of_machine,
)

_log = structlog.get_logger(__name__)
_MEDIA_TYPE = "application/problem+json"
_STATUSES: Mapping[type[TerraError], int] = {
    ConfigError: 422,
    ConflictError: 409,
    ForbiddenError: 403,
    NotFoundError: 404,
    InterruptedWork: 409,
    UnavailableError: 503,
}
_RETRY_SECONDS = 5


def status_of(error: TerraError) -> int:
    """Return the HTTP status for an error."""
    for kind, status in _STATUSES.items():
        if isinstance(error, kind):
            return status
    return 500


def describe(error: TerraError) -> dict[str, object]:
    """Return an error as a problem document; :func:`terra_core.client.connection.error_of` makes the error from it again."""
    kind = next((kind for kind in (ConfigError, UnavailableError) if isinstance(error, kind)), type(error))
    document: dict[str, object] = {"status": status_of(error), "title": kind.__name__, "detail": error.message}
    if error.hint or error.notes:
        document["hint"] = "\n".join(filter(None, [error.hint, *error.notes]))
    if isinstance(error, ConfigError):
        document["problems"] = list(error.problems)
    return document


def problem_of(error: Exception) -> dict[str, object]:
    """Return whatever ended some work as a problem document: an error, the machine's own, such as a full disk, or a defect."""
    if isinstance(error, OSError):
        error = error_of_machine(error)
    if isinstance(error, TerraError):
        return describe(error)
    return {"status": 500, "title": "Defect", "detail": f"a defect of Terra's: {error!r}"}


def answer(document: dict[str, object]) -> Response[dict[str, object]]:
    """Return the response that carries a problem document."""
    status = document["status"]
    found = Response(document, status_code=status if isinstance(status, int) else 500, media_type=_MEDIA_TYPE)
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        found.headers["Retry-After"] = str(_RETRY_SECONDS)  # RFC 9110, section 10.2.3
    return found


def on_terra_error(_: Request[Any, Any, Any], error: TerraError) -> Response[dict[str, object]]:
    """Answer with what Terra's error says."""
    return answer(describe(error))


def on_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, object]]:
    """Answer with what the HTTP library found wrong."""
    found = answer({"status": error.status_code, "title": "RequestError", "detail": error.detail})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        found.headers["Allow"] = ", ".join(methods_at(request))  # RFC 9110, section 15.5.6
    return found


def methods_at(request: Request[Any, Any, Any]) -> list[str]:
    """Return the methods of the routes to which the path of a request leads."""
    methods = set[str]()
    for route in request.app.routes:
        pattern = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(route.path_format))
        if isinstance(route, HTTPRoute) and re.fullmatch(pattern, request.scope["path"].rstrip("/") or "/"):
            methods |= set(route.methods)
    return sorted(methods)


def on_body_error(_: Request[Any, Any, Any], error: SerializationException) -> Response[dict[str, object]]:
    """Answer to a body that is no JSON."""
    return answer({"status": 400, "title": "RequestError", "detail": f"the body is not JSON: {error}"})


def on_deep_body(_: Request[Any, Any, Any], error: RecursionError) -> Response[dict[str, object]]:
    """Answer to a body whose lists and tables are nested without end."""
    return answer({"status": 422, "title": "RequestError", "detail": "the body is nested too deeply"})


def on_os_error(_: Request[Any, Any, Any], error: OSError) -> Response[dict[str, object]]:
    """Answer with what is wrong with the machine itself, such as a full disk."""
    return answer(describe(error_of_machine(error)))


def on_defect(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, object]]:
    """Answer to a defect of Terra's: the log gets the traceback, the client does not."""
    _log.error("defect", path=request.url.path, exc_info=error)
    detail = "a defect of Terra's; the daemon's log has the details"
    return answer({"status": 500, "title": "Defect", "detail": detail})


HANDLERS: dict[Any, Any] = {
    TerraError: on_terra_error,
    HTTPException: on_http_error,
    SerializationException: on_body_error,
    RecursionError: on_deep_body,
    OSError: on_os_error,
    Exception: on_defect,
}
"""The exception handlers of every application."""
