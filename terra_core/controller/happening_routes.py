"""The routes by which is told what happened to a machine, and how it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from anyio import to_thread
from attrs import asdict
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from terra_core.client.answers import HappeningShown, StatusShown
from terra_core.controller.happening import Happening
from terra_core.controller.machines import Machines
from terra_core.controller.states import States
from terra_core.errors import TerraError
from terra_core.service.description import described
from terra_core.service.operations import Operations
from terra_core.service.passing import Leader

_NAMES = {"hostname": "terra-01"}
_MOST = 1000
_LAST = 20
_LONGEST_WAIT = 10
"""Seconds that a request waits for something to happen: less than a proxy or a client waits for an answer."""


@get("/v1/nodes/{hostname:str}/happenings", opt=described(answer=Sequence[HappeningShown], names=_NAMES, leader=Leader.BETTER))
async def show_happenings(
    machines: NamedDependency[Machines],
    hostname: FromPath[str],
    after: FromQuery[int] = 0,
    limit: FromQuery[int] = _MOST,
    wait: FromQuery[int] = 0,
) -> list[dict[str, Any]]:
    """Show what happened to a machine, in order: DHCP, boot files, logins to its disks, its reports, and operations.

    With the number of the last one as ``after``, only what is new is shown; ``wait`` waits that many seconds, at most ten,
    until there is any. To follow a machine, ask again and again. A number above all in the database, which was put back to
    an earlier state, counts as 0.
    """
    happenings, deadline = machines.store.happenings, time.monotonic() + min(wait, _LONGEST_WAIT)
    record = await to_thread.run_sync(machines.store.find_anywhere, hostname)
    start, most = min(max(after, 0), 2**63 - 1), min(max(limit, 1), _MOST)

    def read() -> Sequence[Happening]:
        return happenings.read(record.hostname, record.generation, after=start, most=most)

    with happenings.listening(record.hostname, record.generation) as heard:
        while True:
            heard.clear()  # before the look: what comes after it rings again
            found = await to_thread.run_sync(read)
            left = deadline - time.monotonic()
            if found or left <= 0:
                return [_shown(one) for one in found]
            with suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await heard.wait()


@get(
    "/v1/nodes/{hostname:str}/status",
    sync_to_thread=True,
    opt=described(answer=StatusShown, names=_NAMES, leader=Leader.BETTER),
)
def show_status(
    machines: NamedDependency[Machines], operations: NamedDependency[Operations], hostname: FromPath[str]
) -> Mapping[str, Any]:
    """Show how a machine is: its state and since when, what it reported, who is connected to its disks, what happened last."""
    store = machines.store
    record = store.find_anywhere(hostname)
    connected: Sequence[Mapping[str, str]] = ()
    unknown = ""
    try:
        connected = [asdict(one) for one in machines.connected(record)]
    except TerraError as error:  # all else is needed the more then
        unknown = str(error)
    operation = next((one for one in reversed(operations.all()) if one.subject == hostname), None)
    return {
        **record.as_row(),
        **States(store).shown(record),
        "report": dict(store.happenings.boot(record.hostname, record.generation).report),
        "connected": list(connected),
        "trouble": "; ".join(filter(None, (machines.troubles.of(hostname), unknown))),
        "operation": operation and operation.as_json(),
        "happenings": [_shown(one) for one in store.happenings.newest(record.hostname, record.generation, _LAST)],
    }


def _shown(happening: Happening) -> dict[str, Any]:
    names = ("number", "generation", "time", "text")
    shown = {name: getattr(happening, name) for name in names}
    return {**shown, "kind": happening.kind.value, "data": dict(happening.data)}


HAPPENING_ROUTES = (show_happenings, show_status)
"""They ask for the dependencies ``machines`` and ``operations``."""
