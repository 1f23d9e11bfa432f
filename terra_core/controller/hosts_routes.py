"""The routes of the hosts of a database; they ask for the dependency ``hosts``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import delete, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from terra_core.client.answers import HostShown
from terra_core.controller.hosts import HostRows
from terra_core.service.audit import note
from terra_core.service.description import described


@get("/v1/hosts", sync_to_thread=True, opt=described(answer=Sequence[HostShown]))
def list_hosts(hosts: NamedDependency[HostRows]) -> list[dict[str, Any]]:
    """List the hosts whose controllers have this database."""
    return [host.as_json() for host in hosts.every()]


@delete(
    "/v1/hosts/{name:str}",
    status_code=200,
    sync_to_thread=True,
    opt=described(answer=HostShown, names={"name": "san-02"}, anywhere=True),
)
def forget_host(hosts: NamedDependency[HostRows], name: FromPath[str]) -> dict[str, Any]:
    """Forget a host that is not there any more; one that is, is a conflict."""
    note("forget host", name)
    return hosts.forget(name).as_json()


HOST_ROUTES = (list_hosts, forget_host)
