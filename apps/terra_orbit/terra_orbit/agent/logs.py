"""``logs``: what a container's program has printed, and prints."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from anyio import to_thread
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery
from litestar.response import Stream

from terra_core.service.description import described
from terra_orbit.agent.containers import Containers
from terra_orbit.agent.wire import Wire, open_wire
from terra_orbit.frames import SILENCE, frame

_PATIENCE_SECONDS = 10.0
_MOST_LINES = 1_000_000


@get("/v1/containers/{name:str}/logs", opt=described())
async def show_logs(
    containers: NamedDependency[Containers], name: FromPath[str], follow: FromQuery[bool] = False, tail: FromQuery[int] = -1
) -> Stream:
    """Return the log of a container's program, in frames of output and error output.

    With ``follow``, also what it will print until it ends; an empty frame now and then says that there is nothing new.
    """
    engine_id, pty = await to_thread.run_sync(containers.logged, name)
    lines = "all" if tail < 0 else str(min(tail, _MOST_LINES))
    path = f"/containers/{engine_id}/logs?stdout=1&stderr=1&follow={int(follow)}&tail={lines}"
    return Stream(_frames(containers, path, framed=not pty), media_type="application/octet-stream")


async def _frames(containers: Containers, path: str, *, framed: bool) -> AsyncIterator[bytes]:
    async with open_wire(containers.engine.socket, "GET", path, framed=framed) as wire:
        reading: asyncio.Task[Any] = asyncio.create_task(_read(wire))
        try:
            while True:
                done, _ = await asyncio.wait({reading}, timeout=_PATIENCE_SECONDS)
                if not done:
                    yield frame(SILENCE, b"")
                    continue
                read = reading.result()
                if read is None:
                    return
                yield frame(*read)
                reading = asyncio.create_task(_read(wire))
        finally:
            reading.cancel()


async def _read(wire: Wire) -> tuple[int, bytes] | None:
    return await wire.read()
