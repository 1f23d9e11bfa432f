"""``exec``: a further program in a container, over a WebSocket.

The client sends what it wants as JSON. From then on, binary messages are the program's input; text messages are JSON: a
terminal's new size, or the end of the input. The agent sends frames (:mod:`terra_orbit.frames`) of output and error output,
and at last, as text, how the program ended, or why it could not be.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from anyio import to_thread
from attrs import frozen
from litestar import WebSocket, websocket
from litestar.di import NamedDependency
from litestar.exceptions import WebSocketDisconnect
from litestar.params import FromPath

from terra_core.config.loader import make_document
from terra_core.errors import TerraError
from terra_core.service.problems import describe
from terra_core.system.processes import Process, start_time
from terra_orbit.agent.containers import Containers
from terra_orbit.agent.engine import Engine
from terra_orbit.agent.requests import ExecRequest, SizeMessage
from terra_orbit.agent.wire import Wire, open_wire
from terra_orbit.frames import frame

_ASK_SECONDS = 10.0
_END_SECONDS = 10.0
_HANGUP_SECONDS = 2.0
_RESIZES = 20


@frozen(kw_only=True)
class _Program:
    """A program that was begun in a container.

    :param engine: where.
    :param identity: the engine's id of it.
    """

    engine: Engine
    identity: str

    async def process(self) -> tuple[int, str]:
        """Return its process on the host, and when that started."""
        pid = int((await to_thread.run_sync(self.engine.exec_state, self.identity))["Pid"] or 0)
        return pid, start_time(pid) if pid else ""

    async def resize(self, rows: int, columns: int) -> None:
        """Set the new size of its terminal."""
        for _ in range(_RESIZES):
            try:
                await to_thread.run_sync(self.engine.exec_resize, self.identity, rows, columns)
            except TerraError:  # it may have ended meanwhile, or be about to begin
                await asyncio.sleep(0.05)
            else:
                return

    async def code(self) -> int:
        """Return its exit code; its output ends a moment before it does."""
        async with asyncio.timeout(_END_SECONDS):
            while True:
                state = await to_thread.run_sync(self.engine.exec_state, self.identity)
                if not state["Running"]:
                    return int(state["ExitCode"] or 0)
                await asyncio.sleep(0.02)


@websocket("/v1/containers/{name:str}/exec")
async def run_program(socket: WebSocket[Any, Any, Any], containers: NamedDependency[Containers], name: FromPath[str]) -> None:
    """Run a program in a container."""
    await socket.accept()
    try:
        try:
            await _serve(socket, containers, name)
        except TerraError as error:
            await socket.send_data(json.dumps({"problem": describe(error)}), mode="text")
        await socket.close()
    except (WebSocketDisconnect, ConnectionError):
        return


async def _serve(socket: WebSocket[Any, Any, Any], containers: Containers, name: str) -> None:
    asked = make_document(await _table(socket), ExecRequest, source="request").value
    engine = containers.engine
    target = await to_thread.run_sync(containers.running, name)
    identity = await to_thread.run_sync(engine.exec_create, target, asked.body())
    program = _Program(engine=engine, identity=identity)
    path = f"/exec/{identity}/start"
    async with open_wire(engine.socket, "POST", path, {"Detach": False, "Tty": asked.tty}, framed=not asked.tty) as wire:
        outgoing = asyncio.create_task(_send_output(socket, wire))
        incoming = asyncio.create_task(_take_input(socket, wire, program))
        try:
            if asked.tty:
                await program.resize(asked.rows, asked.columns)
            await asyncio.wait({outgoing, incoming}, return_when=asyncio.FIRST_COMPLETED)
            if not outgoing.done():  # the client is gone, or has sent no valid message
                await incoming
                raise WebSocketDisconnect(detail="gone")
            await outgoing
        finally:
            for task in (outgoing, incoming):
                task.cancel()
            await asyncio.gather(outgoing, incoming, return_exceptions=True)
            if not outgoing.done() or outgoing.cancelled() or outgoing.exception():
                with suppress(TerraError):  # the first error is being reported
                    await _end(program)
    code = await program.code()
    await socket.send_data(json.dumps({"exit": code}), mode="text")


async def _table(socket: WebSocket[Any, Any, Any]) -> Mapping[str, Any]:
    try:
        async with asyncio.timeout(_ASK_SECONDS):
            raw = json.loads(await socket.receive_data(mode="text"))
    except TimeoutError:
        raise TerraError(f"the first message did not come within {_ASK_SECONDS:g} seconds") from None
    except (ValueError, RecursionError):
        raise TerraError("the first message has to be a JSON object") from None
    if not isinstance(raw, dict):
        raise TerraError("the first message has to be a JSON object")
    return raw


def _told(text: str) -> Mapping[str, Any]:
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise TerraError("a message has to be a JSON object")
    return told


async def _send_output(socket: WebSocket[Any, Any, Any], wire: Wire) -> None:
    while (read := await wire.read()) is not None:
        await socket.send_data(frame(*read), mode="binary")


async def _take_input(socket: WebSocket[Any, Any, Any], wire: Wire, program: _Program) -> None:
    """Until the client is gone."""
    while True:
        message: Any = await socket.receive()  # one of several kinds, of which two can come here
        if message["type"] == "websocket.disconnect":
            return
        if message.get("bytes") is not None:
            with suppress(ConnectionError):  # the program reads no more, but may still run
                await wire.write(message["bytes"])
            continue
        told = _told(message.get("text") or "{}")
        if told.get("end"):
            with suppress(OSError):
                wire.end()
        elif "rows" in told:
            size = make_document(told, SizeMessage, source="message").value
            await program.resize(size.rows, size.columns)


async def _end(program: _Program) -> None:
    """End a program that nobody listens to, with all that it started; the engine would let it run."""
    pid, since = await program.process()
    for number in (signal.SIGHUP, signal.SIGKILL):
        if not Process(pid, since).alive:
            return
        with suppress(ProcessLookupError):
            if os.getpgid(pid) == pid:
                os.killpg(pid, number)
            else:
                os.kill(pid, number)
        deadline = asyncio.get_running_loop().time() + _HANGUP_SECONDS
        while Process(pid, since).alive and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.05)
