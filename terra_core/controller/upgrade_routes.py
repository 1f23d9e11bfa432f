"""The routes by which machines get another image, and go back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anyio import to_thread
from attrs import asdict, frozen
from litestar import Request, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from terra_core.client.answers import UpgradePlanShown
from terra_core.config.loader import make_document
from terra_core.config.values import ImageReference
from terra_core.controller.machines import Machines
from terra_core.controller.records import Record
from terra_core.service.answers import Begun
from terra_core.service.audit import note
from terra_core.service.description import described
from terra_core.service.operation_routes import begun, table_of
from terra_core.service.operations import Operations
from terra_core.service.passing import Leader
from terra_core.system.progress import Report

_EXAMPLE = {"image": "docker.io/stellarproject/example:7"}
_NAMES = {"hostname": "terra-01"}


@frozen(kw_only=True)
class UpgradeRequest:
    """The body of ``POST /v1/nodes/{hostname}/upgrade``.

    :param image: the image that the machine shall have.
    """

    image: ImageReference


@frozen(kw_only=True)
class RollbackRequest:
    """The body of ``POST /v1/nodes/{hostname}/rollback``, which has no keys."""


@post(
    "/v1/nodes/{hostname:str}/upgrade/plan",
    status_code=200,
    opt=described(
        body=UpgradeRequest, answer=UpgradePlanShown, example=_EXAMPLE, names=_NAMES, asks=True, leader=Leader.BETTER
    ),
)
async def plan_upgrade(
    machines: NamedDependency[Machines], request: Request[Any, Any, Any], hostname: FromPath[str]
) -> dict[str, Any]:
    """Show what an upgrade of the machine to an image would do; change nothing."""
    image = await _image_of(request)
    return await to_thread.run_sync(lambda: asdict(machines.upgrading.plan(hostname, image)))


@post(
    "/v1/nodes/{hostname:str}/upgrade",
    status_code=202,
    opt=described(body=UpgradeRequest, answer=Begun, example=_EXAMPLE, names=_NAMES),
)
async def upgrade_node(
    machines: NamedDependency[Machines],
    operations: NamedDependency[Operations],
    request: Request[Any, Any, Any],
    hostname: FromPath[str],
) -> dict[str, str]:
    """Make the next version of the machine, of an image; return the operation that does it.

    The machine has it from its next start on, on trial, and goes back by itself unless it reports that it is well.
    """
    image = await _image_of(request)
    note("upgrade", hostname, f"to {image}")
    record = await to_thread.run_sync(machines.upgrading.require_able, hostname, image)

    def upgrade(record: Record, report: Report) -> Mapping[str, Any]:
        return machines.upgrading.upgrade(record, image, report)

    return begun(operations.start("upgrade", hostname, machines.logged(record, "upgrade", upgrade)))


@post(
    "/v1/nodes/{hostname:str}/rollback",
    status_code=202,
    opt=described(body=RollbackRequest, answer=Begun, names=_NAMES),
)
async def roll_back_node(
    machines: NamedDependency[Machines],
    operations: NamedDependency[Operations],
    request: Request[Any, Any, Any],
    hostname: FromPath[str],
) -> dict[str, str]:
    """Bring the machine back to its former version from its next start on; return the operation that does it."""
    make_document(await table_of(request), RollbackRequest, source="request")
    note("rollback", hostname)
    record = await to_thread.run_sync(machines.upgrading.require_way_back, hostname)
    work = machines.logged(record, "rollback", machines.upgrading.rollback)
    return begun(operations.start("rollback", hostname, work))


async def _image_of(request: Request[Any, Any, Any]) -> ImageReference:
    return make_document(await table_of(request), UpgradeRequest, source="request").value.image


UPGRADE_ROUTES = (plan_upgrade, upgrade_node, roll_back_node)
