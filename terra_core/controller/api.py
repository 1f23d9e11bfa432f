"""The controller's HTTP API: requests in, use cases called, JSON out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from anyio import to_thread
from attrs import frozen
from litestar import Litestar, Request, delete, get, post, put
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, FromQuery

from terra_core.client.answers import InfoShown, NodeShown, PlanShown
from terra_core.config.loader import Document, make_document
from terra_core.config.node import NetworkNode, SentNode
from terra_core.config.problems import DocumentError
from terra_core.config.structure import Problem
from terra_core.config.values import ImageReference
from terra_core.controller.access import ACCESS_ROUTES, ROLES, Access
from terra_core.controller.changes import Action
from terra_core.controller.happening_routes import HAPPENING_ROUTES
from terra_core.controller.hosts import HostRows
from terra_core.controller.hosts_routes import HOST_ROUTES
from terra_core.controller.images_routes import IMAGE_ROUTES
from terra_core.controller.keeping import Keeper
from terra_core.controller.machines import Machines
from terra_core.controller.metrics import Metrics
from terra_core.controller.owners import PassingToOwners
from terra_core.controller.passing import Membership, PassingOn
from terra_core.controller.services import Services
from terra_core.controller.states import Listing, States, with_trouble
from terra_core.controller.store import Record
from terra_core.controller.tokens import Tokens
from terra_core.controller.upgrade_routes import UPGRADE_ROUTES
from terra_core.documents import make
from terra_core.hookspecs import Boot, Filesystem, Registry, Storage
from terra_core.hookspecs import Store as StoreRole
from terra_core.service.answers import Begun
from terra_core.service.application import BODY_LIMIT, make_application
from terra_core.service.audit import note
from terra_core.service.description import described
from terra_core.service.operation_routes import OPERATION_ROUTES, begun, table_of
from terra_core.service.operations import Operation, Operations
from terra_core.service.passing import Leader, Passing
from terra_core.system.progress import Report

_EXAMPLE = {
    "hostname": "terra-01",
    "mac": "54:b2:03:07:f1:d1",
    "image": "docker.io/stellarproject/example:6",
    "groups": [{"label": "os", "disk": [{"device": "/dev/sda", "size": 128000}]}],
}
_NAMES = {"hostname": "terra-01"}


@frozen(kw_only=True)
class PxeRequest:
    """The body of ``POST /v1/pxe``.

    :param image: the pxe image to install.
    """

    image: ImageReference


@frozen(kw_only=True)
class MendRequest:
    """The body of ``POST /v1/mend``, which has no keys."""


@frozen(kw_only=True)
class Context:
    """What the handlers work with.

    :param services: the controller's parts.
    :param machines: its use cases.
    :param operations: its long work.
    :param keeper: keeps everything as the database says.
    """

    services: Services
    machines: Machines
    operations: Operations
    keeper: Keeper


def make_api(context: Context, token: str, membership: Membership | None = None) -> Litestar:
    """Return the controller's application.

    :param token: the token of the controller's host, which may do everything.
    :param membership: the controller among others of its database; the only one when left out.
    """
    engine = context.services.store.engine
    access, listing, rows = Access(engine, token), Listing(context.services.store), HostRows(engine)
    passing = None if membership is None else _passing(context, membership, rows, access.tokens)
    return make_application(
        title="Terra controller",
        routes=[
            # Litestar wraps a handler that is not async again for every further one of its path, which works once.
            provision_node,
            plan_node,
            apply_node,
            list_nodes,
            show_node,
            delete_node,
            install_pxe,
            mend,
            show_info,
            *ACCESS_ROUTES,
            *HAPPENING_ROUTES,
            *HOST_ROUTES,
            *IMAGE_ROUTES,
            *OPERATION_ROUTES,
            *UPGRADE_ROUTES,
        ],
        gate=access.tokens,
        metrics=Metrics(context.services, context.operations, context.machines.troubles).registry,
        dependencies={
            "access": Provide(lambda: access, sync_to_thread=False),
            "context": Provide(lambda: context, sync_to_thread=False),
            "machines": Provide(lambda: context.machines, sync_to_thread=False),
            "listing": Provide(lambda: listing, sync_to_thread=False),
            "hosts": Provide(lambda: rows, sync_to_thread=False),
            "goldens": Provide(lambda: context.machines.goldens, sync_to_thread=False),
            "operations": Provide(lambda: context.operations, sync_to_thread=False),
        },
        degraded=lambda: context.machines.troubles.services,
        roles=ROLES,
        journal=access.audit,
        changing=context.keeper.require_work,
        passing=passing,
        lifespan=[access.lifespan()],
    )


def _passing(context: Context, membership: Membership, rows: HostRows, gate: Tokens) -> Passing:
    store, authority = context.services.store, context.services.session.paths.authority
    if store.host:
        return PassingToOwners(membership, rows, gate, store, body_limit=BODY_LIMIT, authority=authority)
    return PassingOn(
        membership, rows, gate, context.keeper, context.operations, body_limit=BODY_LIMIT, authority=authority
    )  # fmt: skip


@get("/v1/nodes", sync_to_thread=True, opt=described(answer=Sequence[NodeShown], leader=Leader.BETTER))
def list_nodes(
    context: NamedDependency[Context], listing: NamedDependency[Listing], hosts: NamedDependency[HostRows]
) -> list[msgspec.Raw]:
    """List every machine with its state."""
    elsewhere = {host.own.name: host.said_of_machines for host in hosts.every()} if context.services.store.host else {}
    return list(listing.rows(context.machines.troubles.now(), elsewhere))


@get("/v1/nodes/{hostname:str}", sync_to_thread=True, opt=described(answer=NodeShown, names=_NAMES, leader=Leader.BETTER))
def show_node(
    context: NamedDependency[Context], hosts: NamedDependency[HostRows], hostname: FromPath[str]
) -> dict[str, Any]:  # fmt: skip
    """Show one machine with its state."""
    store = context.services.store
    record = store.find_anywhere(hostname)
    if record.host == store.host:
        trouble = context.machines.troubles.of(hostname)
    else:
        host = hosts.find(record.host)
        trouble = "" if host is None else host.said_of_machines
    return with_trouble(record.as_row() | States(store).shown(record), trouble)


@post("/v1/nodes", status_code=202, opt=described(body=SentNode, answer=Begun, tables=True, example=_EXAMPLE))
async def provision_node(context: NamedDependency[Context], request: Request[Any, Any, Any]) -> dict[str, str]:
    """Provision the machine whose node.toml, as JSON, is the body; return the operation that does it."""
    raw = await table_of(request)
    record = await to_thread.run_sync(_reserve, context, raw)  # there may be much to check, and the database may let it wait
    work = context.machines.logged(record, "provision", context.machines.provision)
    shared = context.services.sharing.helped
    return begun(context.operations.start("provision", record.node.hostname, work, shared=shared))


def _reserve(context: Context, raw: Mapping[str, Any]) -> Record:
    document = make(raw, NetworkNode, source="node.toml", plugins=context.services.plugins, sent=SentNode)
    note("provision", document.value.hostname)
    return context.machines.reserve(document)


@post(
    "/v1/nodes/{hostname:str}/plan",
    status_code=200,
    opt=described(
        body=SentNode, answer=PlanShown, tables=True, example=_EXAMPLE, names=_NAMES, asks=True, leader=Leader.BETTER
    ),
)
async def plan_node(
    context: NamedDependency[Context], request: Request[Any, Any, Any], hostname: FromPath[str]
) -> dict[str, Any]:
    """Show what applying a node.toml, as JSON, would do to the machine; change nothing."""
    raw = await table_of(request)
    return await to_thread.run_sync(lambda: context.machines.altering.plan(_sent(context, raw, hostname)).as_json())


@put(
    "/v1/nodes/{hostname:str}",
    status_code=202,
    opt=described(body=SentNode, answer=Begun, tables=True, example=_EXAMPLE, names=_NAMES),
)
async def apply_node(
    context: NamedDependency[Context], request: Request[Any, Any, Any], hostname: FromPath[str], version: FromQuery[str] = ""
) -> dict[str, str]:
    """Make the machine what a node.toml, as JSON, says; return the operation that does it.

    One that is not there is made. With the ``version`` of a plan, a machine that is not what it was then is a conflict.
    """
    raw = await table_of(request)
    return begun(await to_thread.run_sync(_apply, context, raw, hostname, version))


def _apply(context: Context, raw: Mapping[str, Any], hostname: str, version: str) -> Operation:
    document = _sent(context, raw, hostname)
    machines = context.machines
    note("apply", hostname)
    former, plan = machines.altering.checked(document, version)
    note("apply", hostname, ", ".join(change.path for change in plan.changes))

    def change(record: Record, report: Report) -> Mapping[str, Any]:
        return machines.altering.change(record, document, report)

    if former is None:
        work = machines.logged(machines.reserve(document), "provision", machines.provision)
        return context.operations.start("provision", hostname, work, shared=context.services.sharing.helped)
    if plan.action is Action.CHANGE:
        next_boot = any(one.waits_for_boot for one in plan.changes)
        return context.operations.start("apply", hostname, machines.logged(former, "change", change, next_boot=next_boot))
    return context.operations.start("apply", hostname, lambda report: former.as_json())


def _sent(context: Context, raw: Mapping[str, Any], hostname: str) -> Document[NetworkNode]:
    document = make(raw, NetworkNode, source="node.toml", plugins=context.services.plugins, sent=SentNode)
    if document.value.hostname != hostname:
        text = f"is {document.value.hostname}, and the request is about {hostname}"
        raise DocumentError("node.toml", [Problem("hostname", text)])
    return document


@delete("/v1/nodes/{hostname:str}", status_code=202, sync_to_thread=True, opt=described(answer=Begun, names=_NAMES))
def delete_node(
    context: NamedDependency[Context], hostname: FromPath[str], force: FromQuery[bool] = False
) -> dict[str, str]:  # fmt: skip
    """Delete a machine; return the operation that does it.

    One that is logged in to its disks is refused as a conflict, unless by force.
    """
    note("delete", hostname, "by force" if force else "")
    if not force:
        context.machines.require_idle(hostname)
    record = context.machines.begin_delete(hostname)
    work = context.machines.logged(record, "delete", context.machines.delete)
    return begun(context.operations.start("delete", hostname, work, removal=True))


@post(
    "/v1/pxe",
    status_code=202,
    opt=described(body=PxeRequest, answer=Begun, example={"image": "docker.io/stellarproject/pxe:v11"}),
)
async def install_pxe(context: NamedDependency[Context], request: Request[Any, Any, Any]) -> dict[str, str]:
    """Install the network boot loaders of an image; return the operation that does it."""
    wanted = make_document(await table_of(request), PxeRequest, source="request").value
    return begun(
        context.operations.start(
            "pxe", str(wanted.image), lambda report: context.machines.install_boot_image(wanted.image, report)
        )
    )


@post("/v1/mend", status_code=202, opt=described(body=MendRequest, answer=Begun))
async def mend(context: NamedDependency[Context], request: Request[Any, Any, Any]) -> dict[str, str]:
    """Compare all that there is with the database now, and mend what can be mended; return the operation that does it."""
    make_document(await table_of(request), MendRequest, source="request")
    return begun(context.operations.start("mend", "controller", context.keeper.mend, removal=True))


@get("/v1/info", sync_to_thread=True, opt=described(answer=InfoShown))
def show_info(context: NamedDependency[Context]) -> dict[str, Any]:
    """Show the controller's addresses, plugins and numbers of machines."""
    services = context.services
    troubles = context.machines.troubles.services
    states = States(services.store).words(services.store.every())
    return {
        "address": services.config.address,
        "port": services.config.port,
        "gateway": services.config.gateway,
        "portal": services.config.portal,
        "root": str(services.session.paths.root),
        "nodes": {state: states.count(state) for state in sorted(set(states))},
        "plugins": {role.role: services.role(role).plugin for role in (Registry, Filesystem, StoreRole, Storage, Boot)},
        **({"problems": dict(troubles)} if troubles else {}),
    }
