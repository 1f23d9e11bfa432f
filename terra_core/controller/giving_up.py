"""Giving up a host that has a store of its own and is gone for good, and its machines with it (decision 0107)."""

from __future__ import annotations

from contextlib import suppress

import structlog

from terra_core.config.values import Hostname, Mac
from terra_core.controller.hosts import Host, HostRows
from terra_core.controller.machines import Machines
from terra_core.controller.store import Store
from terra_core.errors import NotFoundError, TerraError
from terra_core.hookspecs import Boot

_log = structlog.get_logger(__name__)


def forget_host(machines: Machines, name: str, *, with_machines: bool) -> Host:
    """Forget a host that is not there any more.

    :param with_machines: whether the machines are given up that it alone has the disks of: their records and boot files go, and
        their names and addresses are free. The disks stay where they are.
    :returns: what was known of it.
    :raises NotFoundError: when there is none of this name.
    :raises ConflictError: when it runs, or has machines that are not given up.
    """
    services = machines.services
    given_up = [record for record in services.store.everywhere() if record.host == name]
    forgotten = HostRows(services.store.engine).forget(name, with_machines=with_machines)
    for record in given_up:
        if _is_there(services.store, record.hostname):
            continue  # somebody has made one of that name anew
        with suppress(ValueError):  # of a record that cannot be read, whose name or address is none
            try:
                services.role(Boot).withdraw_boot(Hostname(record.hostname), Mac(record.mac), services.session)
            except TerraError as error:
                _log.error("boot files of a machine that is given up are left", hostname=record.hostname, reason=error.message)
    if given_up:
        _log.warning("a host is given up with its machines", name=name, machines=len(given_up))
        machines.start_boot(services.session)
    return forgotten


def _is_there(store: Store, hostname: str) -> bool:
    try:
        store.find_anywhere(hostname)
    except NotFoundError:
        return False
    return True
