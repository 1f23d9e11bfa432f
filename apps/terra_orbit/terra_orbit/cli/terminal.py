"""The near end of ``ob exec``: this terminal's input and output, over a WebSocket."""

from __future__ import annotations

import asyncio
import concurrent.futures
import json
import os
import select
import shutil
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from terra_core.client.connection import Client, error_of, tls_context
from terra_core.errors import TerraError, words_of
from terra_core.system.undo import Undo
from terra_orbit.frames import ERROR, Frames

_CHUNK = 65536
_OPEN_SECONDS = 10
_MESSAGE_LIMIT = 1024 * 1024


class Session:
    """One program in a container, seen from here.

    :param client: the agent.
    :param path: where its API runs programs.
    :param tty: whether the program has a terminal; this one passes every key on then.
    :param stdin: whether it gets this process's input.
    """

    def __init__(self, client: Client, path: str, *, tty: bool, stdin: bool) -> None:
        self._client = client
        self._path = path
        self._tty = tty
        self._stdin = stdin

    def run(self, wanted: Mapping[str, Any]) -> int:
        """Run it to its end; return its exit code.

        :raises TerraError: when it cannot be run, or the connection ends before it does.
        """
        return asyncio.run(self._run(wanted))

    async def _run(self, wanted: Mapping[str, Any]) -> int:
        columns, rows = shutil.get_terminal_size()
        with Undo() as stack:
            connection = await self._connected()
            try:
                await connection.send(json.dumps({**wanted, "rows": rows, "columns": columns}))
                if self._tty:
                    stack.enter_context(_raw())
                resized = stack.enter_context(_resizes())
                arguments = (connection, resized, asyncio.get_running_loop())
                threading.Thread(target=self._send_input, args=arguments, daemon=True).start()
                return await self._take_output(connection)
            finally:
                await connection.close()

    async def _connected(self) -> ClientConnection:
        scheme, _, rest = self._client.url.partition("://")
        secure = scheme == "https"
        try:
            return await connect(
                f"{'wss' if secure else 'ws'}://{rest}{self._path}",
                additional_headers={"Authorization": f"Bearer {self._client.token}"},
                ssl=tls_context() if secure else None,
                open_timeout=_OPEN_SECONDS,
                compression=None,
                max_size=_MESSAGE_LIMIT,
                proxy=None,  # the environment's proxy is for other hosts
            )
        except InvalidStatus as error:
            raise error_of(_document(error)) from error
        except ConnectionRefusedError:
            raise TerraError(f"{self._client.url}: no agent answers", hint="start it: orbit-server") from None
        except (OSError, WebSocketException) as error:
            raise TerraError(f"{self._client.url}: {words_of(error)}") from error

    async def _take_output(self, connection: ClientConnection) -> int:
        frames = Frames()
        try:
            async for message in connection:
                if isinstance(message, str):
                    return _exit_code(message)
                for kind, data in frames.feed(message):
                    out = sys.stderr.buffer if kind == ERROR else sys.stdout.buffer
                    out.write(data)
                    out.flush()
        except ConnectionClosed:
            pass
        except (ValueError, KeyError, TypeError, RecursionError):
            raise TerraError(f"{self._client.url}: what answers there is no agent", hint="is the address right?") from None
        raise TerraError(f"{self._client.url}: the connection ended before the program did")

    def _send_input(self, connection: ClientConnection, resized: int, loop: asyncio.AbstractEventLoop) -> None:
        """Send the input from a thread of its own: input may be a file, which an event loop cannot wait for."""

        def send(message: str | bytes) -> None:
            asyncio.run_coroutine_threadsafe(connection.send(message), loop).result()

        source = sys.stdin.fileno() if self._stdin else None
        with suppress(ConnectionClosed, OSError, RuntimeError, concurrent.futures.CancelledError):
            if source is None:
                send(json.dumps({"end": True}))
            while True:
                ready, _, _ = select.select([resized] if source is None else [source, resized], [], [])
                if resized in ready:
                    os.read(resized, _CHUNK)
                    columns, rows = shutil.get_terminal_size()
                    send(json.dumps({"rows": rows, "columns": columns}))
                if source is not None and source in ready:
                    data = os.read(source, _CHUNK)
                    send(data or json.dumps({"end": True}))
                    source = source if data else None


def _exit_code(message: str) -> int:
    told = json.loads(message)
    if "problem" in told:
        raise error_of(told["problem"])
    return int(told["exit"])


@contextmanager
def _raw() -> Iterator[None]:
    """Let the terminal pass on every key, Ctrl-C among them."""
    descriptor = sys.stdin.fileno()
    try:
        former = termios.tcgetattr(descriptor)
    except termios.error:  # a terminal was asked for, and standard input is none
        yield
        return
    try:
        tty.setraw(descriptor)
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, former)


@contextmanager
def _resizes() -> Iterator[int]:
    """Yield a descriptor that can be read when the size of the terminal has changed."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def note(*_: object) -> None:
        with suppress(BlockingIOError):
            os.write(writing, b"!")

    former = signal.signal(signal.SIGWINCH, note)
    try:
        yield reading
    finally:
        signal.signal(signal.SIGWINCH, former)


def _document(error: InvalidStatus) -> Mapping[str, Any]:
    with suppress(ValueError, RecursionError):
        document = json.loads(error.response.body or b"")
        if isinstance(document, dict):
            return document
    return {"detail": f"the agent refused it: {error.response.status_code}"}
