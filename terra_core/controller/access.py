"""Who may do what with a controller, and the routes by which tokens are given and changes are looked up."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from anyio import to_thread
from attrs import asdict, frozen
from litestar import Litestar, Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from sqlalchemy import Engine

from terra_core.client.answers import AuditShown, TokenCreated, TokenShown
from terra_core.config.loader import make_document
from terra_core.controller.audit import AuditLog
from terra_core.controller.tokens import Token, Tokens
from terra_core.service.access import Role, Roles
from terra_core.service.audit import note
from terra_core.service.description import described
from terra_core.service.operation_routes import table_of
from terra_core.service.running import Unending, watching

_LOOKS = 20
"""Refusals are written down at each of so many looks, which is once a minute."""
_MOST_SHOWN = 1000
_EXAMPLE = {"name": "ann", "role": "provision", "days": 90}

ROLES: Roles = {
    "GET /metrics": Role.READ,
    "GET /schema": Role.READ,
    "GET /schema/openapi.json": Role.READ,
    "GET /schema/{path}": Role.READ,
    "GET /v1/audit": Role.ADMIN,
    "GET /v1/hosts": Role.READ,
    "DELETE /v1/hosts/{name}": Role.ADMIN,
    "POST /v1/hosts/{name}/drain": Role.ADMIN,
    "POST /v1/hosts/{name}/resume": Role.ADMIN,
    "POST /v1/hosts/{name}/unfence": Role.ADMIN,
    "GET /v1/images": Role.READ,
    "POST /v1/images/{digest}/pin": Role.ADMIN,
    "DELETE /v1/images/{digest}": Role.ADMIN,
    "GET /v1/info": Role.READ,
    "GET /v1/nodes": Role.READ,
    "GET /v1/nodes/{hostname}": Role.READ,
    "GET /v1/nodes/{hostname}/happenings": Role.READ,
    "GET /v1/nodes/{hostname}/status": Role.READ,
    "POST /v1/nodes": Role.PROVISION,
    "PUT /v1/nodes/{hostname}": Role.PROVISION,
    "DELETE /v1/nodes/{hostname}": Role.PROVISION,
    "POST /v1/nodes/{hostname}/plan": Role.PROVISION,
    "POST /v1/nodes/{hostname}/rollback": Role.PROVISION,
    "POST /v1/nodes/{hostname}/upgrade": Role.PROVISION,
    "POST /v1/nodes/{hostname}/upgrade/plan": Role.PROVISION,
    "GET /v1/operations": Role.READ,
    "GET /v1/operations/{identity}": Role.READ,
    "GET /v1/operations/{identity}/events": Role.READ,
    "DELETE /v1/operations/{identity}": Role.PROVISION,
    "POST /v1/mend": Role.ADMIN,
    "POST /v1/pxe": Role.ADMIN,
    "GET /v1/tokens": Role.ADMIN,
    "POST /v1/tokens": Role.ADMIN,
    "DELETE /v1/tokens/{name}": Role.ADMIN,
}
"""The role of every route of the controller; a test fails for one that is missing, and only ``admin`` may use it."""


class Access:
    """The tokens and the audit log of a controller.

    :param engine: its database.
    :param token: the token of its host.
    """

    def __init__(self, engine: Engine, token: str) -> None:
        self.tokens = Tokens(engine, token)
        self.audit = AuditLog(engine)
        self._looks = 0
        self._looking = Unending("tokens and audit log cannot be kept up")

    def look(self) -> None:
        """Store what is not stored yet, and read what other controllers changed; called every few seconds."""
        self._looks += 1
        with self._looking.turn():
            self.tokens.look()
            if self._looks % _LOOKS == 0:
                self.audit.look()

    def lifespan(self) -> Callable[[Litestar], AbstractAsyncContextManager[None]]:
        """Return what looks as long as an application serves requests."""

        @asynccontextmanager
        async def looking(_: Litestar) -> AsyncIterator[None]:
            with watching(self.look):
                yield
            self._looks = _LOOKS - 1
            self.look()

        return looking


@frozen(kw_only=True)
class TokenRequest:
    """The body of ``POST /v1/tokens``.

    :param name: the name of the token, in lower case; the audit log has it.
    :param role: what it may do: read, provision or admin.
    :param days: for how many days it is valid; without end when left out.
    """

    name: str
    role: Role
    days: int | None = None


@get("/v1/tokens", sync_to_thread=False, opt=described(answer=Sequence[TokenShown]))
def list_tokens(access: NamedDependency[Access]) -> list[dict[str, Any]]:
    """List every token with its role, without its secret; those that are not valid any more, too."""
    return [_shown(token) for token in access.tokens.all()]


@post("/v1/tokens", status_code=201, opt=described(body=TokenRequest, answer=TokenCreated, example=_EXAMPLE, anywhere=True))
async def create_token(access: NamedDependency[Access], request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Make a token; its secret is in this answer, and nowhere after it."""
    wanted = make_document(await table_of(request), TokenRequest, source="request").value
    note("create token", wanted.name, f"role {wanted.role.value}")
    token, secret = await to_thread.run_sync(access.tokens.create, wanted.name, wanted.role, wanted.days)
    return {**_shown(token), "token": secret}


@delete(
    "/v1/tokens/{name:str}",
    status_code=200,
    sync_to_thread=True,
    opt=described(answer=TokenShown, names={"name": "ann"}, anywhere=True),
)
def revoke_token(access: NamedDependency[Access], name: FromPath[str]) -> dict[str, Any]:
    """Revoke a token: it opens nothing from the next request on."""
    note("revoke token", name)
    return _shown(access.tokens.revoke(name))


@get("/v1/audit", sync_to_thread=True, opt=described(answer=Sequence[AuditShown]))
def show_audit(
    access: NamedDependency[Access], limit: FromQuery[int] = 50, host: FromQuery[str] = ""
) -> list[Mapping[str, Any]]:
    """Show the last changes, oldest first, and what was refused; ``host`` leaves those of one machine."""
    return list(access.audit.newest(min(max(limit, 1), _MOST_SHOWN), host))


def _shown(token: Token) -> dict[str, Any]:
    shown = asdict(token)
    del shown["digest"]
    return {**shown, "role": token.role.value}


ACCESS_ROUTES = (list_tokens, create_token, revoke_token, show_audit)
"""They ask for the dependency ``access``."""
