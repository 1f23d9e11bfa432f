"""Any host answers any request, where hosts have stores of their own: who has the disks is asked (decision 0107)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from anyio import to_thread
from attrs import evolve
from litestar.types import Receive, Scope, Send

from terra_core.controller.hosts import HostRows
from terra_core.controller.passing import Exchanging, Membership, body_of, replayed
from terra_core.controller.placing import Placing
from terra_core.controller.store import Store
from terra_core.controller.tokens import Tokens
from terra_core.errors import NotFoundError, TerraError, UnavailableError
from terra_core.service.operations import origin_of

_HINT = "terra hosts shows how it is; machines of other hosts can be changed meanwhile"
_HAS, _GETS, _DOES = "has its disks", "is to have its disks", "does that"
_NODES, _NODE = "/v1/nodes", "/v1/nodes/{hostname}"
_MAKING = frozenset({("PUT", _NODE), ("POST", f"{_NODE}/plan")})
"""What may be asked about a machine that is not there."""


class PassingToOwners(Exchanging):
    """Passes requests about a machine on to the host that has its disks, and those for a new one to the host that gets it.

    :param membership: this controller among the others.
    :param rows: the hosts of the database.
    :param gate: recognises tokens.
    :param store: the machines.
    :param body_limit: the largest body of a request, in bytes.
    :param authority: the file of the authority that the hosts have in common, which need not be there.
    """

    def __init__(
        self, membership: Membership, rows: HostRows, gate: Tokens, store: Store, *, body_limit: int, authority: Path
    ) -> None:  # fmt: skip
        super().__init__(membership, rows, gate, body_limit=body_limit, authority=authority)
        self._store, self._placing = store, Placing(rows, store)

    async def pass_on(self, scope: Scope, receive: Receive, send: Send, *, needed: bool) -> Receive | None:
        """Let the host answer whose machine it is; see :class:`terra_core.service.passing.Passing`."""
        parameters, asked = scope["path_params"], (str(scope.get("method")), scope["path_template"])
        needed = needed or asked[0] != "GET"
        if "identity" in parameters:
            owner = origin_of(str(parameters["identity"]))
            return await self._to(owner, scope, receive, send, why=_DOES, needed=needed)
        if "hostname" in parameters:
            hostname = str(parameters["hostname"])
            owner = await to_thread.run_sync(self._owner_of, hostname)
            if owner or asked not in _MAKING:
                return await self._to(owner, scope, receive, send, why=_HAS, needed=needed)
            return await self._to_chosen(scope, receive, send, hostname)
        return await self._to_chosen(scope, receive, send, "") if asked == ("POST", _NODES) else receive

    def _owner_of(self, hostname: str) -> str:
        try:
            return self._store.find_anywhere(hostname).host
        except NotFoundError:
            return ""

    async def _to(
        self, name: str, scope: Scope, receive: Receive, send: Send, *, why: str, needed: bool
    ) -> Receive | None:  # fmt: skip
        """Let a host answer, unless it is this one, or none; where it does not, and is not needed, this one does."""
        if name in ("", self._own.name):
            return receive
        try:
            host = await to_thread.run_sync(self._rows.find, name)
        except TerraError:
            if needed:
                raise
            return receive
        if host is None and why == _DOES:
            return receive  # which knows no such operation
        if host is None or not host.runs:
            if needed:
                state = "it is not among the hosts" if host is None else f"it is {host.state}"
                raise UnavailableError(f"{name} {why}, and does not answer: {state}", hint=_HINT)
            return receive
        body = await body_of(scope, receive, self._body_limit)
        if body is None:
            return None
        outgoing = evolve(self._outgoing(scope, host.own, body), why=why)
        return await self._exchanges.carry_out(outgoing, receive, send, needed=needed)

    async def _to_chosen(self, scope: Scope, receive: Receive, send: Send, hostname: str) -> Receive | None:
        """Let the host answer that is to have a new machine."""
        body = await body_of(scope, receive, self._body_limit)
        if body is None:
            return None
        said = _table_of(body)
        name = hostname or str(said.get("hostname", ""))
        chosen = (await to_thread.run_sync(self._placing.choose, name, said.get("host"))).own
        if chosen.identity == self._own.identity:
            return replayed(body, receive)
        outgoing = evolve(self._outgoing(scope, chosen, body), why=_GETS)
        try:
            return await self._exchanges.carry_out(outgoing, receive, send, needed=True)
        except UnavailableError:
            self._placing.shun(chosen.name)
            raise


def _table_of(body: bytes) -> Mapping[str, object]:
    """Return the table in a body; an empty one for what is none, of which its reader says what is wrong."""
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
