"""The routes of the hosts of a database; they ask for the dependency ``hosts``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from anyio import to_thread
from attrs import frozen
from litestar import Request, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from terra_core.client.answers import HostShown
from terra_core.config.loader import make_document
from terra_core.controller import giving_up
from terra_core.controller.hosts import HostRows
from terra_core.controller.machines import Machines
from terra_core.service.audit import note
from terra_core.service.description import described
from terra_core.service.operation_routes import table_of

_NAMES = {"name": "san-02"}


@frozen(kw_only=True)
class HostRequest:
    """The body of ``POST /v1/hosts/{name}/drain``, ``resume`` and ``unfence``, which has no keys."""


@get("/v1/hosts", sync_to_thread=True, opt=described(answer=Sequence[HostShown]))
def list_hosts(hosts: NamedDependency[HostRows]) -> list[dict[str, Any]]:
    """List the hosts whose controllers have this database."""
    return [host.as_json() for host in hosts.every()]


@delete(
    "/v1/hosts/{name:str}",
    status_code=200,
    sync_to_thread=True,
    opt=described(answer=HostShown, names=_NAMES, anywhere=True),
)
def forget_host(
    machines: NamedDependency[Machines], name: FromPath[str], with_machines: FromQuery[bool] = False
) -> dict[str, Any]:  # fmt: skip
    """Forget a host that is not there any more; one that is, is a conflict.

    So is one that alone has the disks of machines, unless these are given up as well: their names and addresses are free then.
    """
    note("forget host", name, "with its machines" if with_machines else "")
    return giving_up.forget_host(machines, name, with_machines=with_machines).as_json()


@post(
    "/v1/hosts/{name:str}/drain",
    status_code=200,
    opt=described(body=HostRequest, answer=HostShown, names=_NAMES, anywhere=True),
)
async def drain_host(hosts: NamedDependency[HostRows], request: Request[Any, Any, Any], name: FromPath[str]) -> dict[str, Any]:
    """Let a host take no lead. One that has it finishes what it has begun, and gives it to another one."""
    make_document(await table_of(request), HostRequest, source="request")
    note("drain host", name)
    return (await to_thread.run_sync(hosts.drain, name)).as_json()


@post(
    "/v1/hosts/{name:str}/resume",
    status_code=200,
    opt=described(body=HostRequest, answer=HostShown, names=_NAMES, anywhere=True),
)
async def resume_host(
    hosts: NamedDependency[HostRows], request: Request[Any, Any, Any], name: FromPath[str]
) -> dict[str, Any]:
    """Let a host that was drained take the lead again when nobody has it."""
    make_document(await table_of(request), HostRequest, source="request")
    note("resume host", name)
    return (await to_thread.run_sync(hosts.resume, name)).as_json()


@post(
    "/v1/hosts/{name:str}/unfence",
    status_code=200,
    opt=described(body=HostRequest, answer=HostShown, names=_NAMES, anywhere=True),
)
async def unfence_host(
    machines: NamedDependency[Machines], request: Request[Any, Any, Any], name: FromPath[str]
) -> dict[str, Any]:
    """Let a host into the store again that was fenced when another one took its place; it waits from then on.

    One whose controller has not started since is a conflict: what it had open may be open still.
    """
    make_document(await table_of(request), HostRequest, source="request")
    note("unfence host", name)
    return (await to_thread.run_sync(machines.portal.unfence, name)).as_json()


HOST_ROUTES = (list_hosts, forget_host, drain_host, resume_host, unfence_host)
