"""Streams of the engine, each on a connection of its own.

The SDK keeps bytes that came with the head of an answer in an inaccessible buffer, so that the first output of a program may
get lost; here every byte after the head belongs to the stream.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from terra_core.errors import TerraError
from terra_orbit.frames import HEADER_SIZE, LONGEST, OUTPUT, parse_header

_CHUNK = 65536
_HEAD_SECONDS = 30


class Wire:
    """An answer of the engine that is a stream, both ways where that was asked for.

    :param reader: what the engine sends.
    :param writer: what it is sent.
    :param framed: whether it sends frames, as it does without a terminal.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, framed: bool) -> None:
        self._reader = reader
        self._writer = writer
        self._framed = framed
        self._kind, self._left = OUTPUT, 0  # of the frame that is being read

    async def read(self) -> tuple[int, bytes] | None:
        """Return the next data and its kind, a long frame in parts; ``None`` at the end."""
        if not self._framed:
            data = await self._reader.read(_CHUNK)
            return (OUTPUT, data) if data else None
        try:
            while not self._left:
                self._kind, self._left = parse_header(await self._reader.readexactly(HEADER_SIZE))
        except asyncio.IncompleteReadError:
            return None
        data = await self._reader.read(min(self._left, LONGEST))
        self._left -= len(data)
        return (self._kind, data) if data else None

    async def write(self, data: bytes) -> None:
        """Send something."""
        self._writer.write(data)
        await self._writer.drain()

    def end(self) -> None:
        """Send no more; reading goes on."""
        if self._writer.can_write_eof():
            self._writer.write_eof()


@asynccontextmanager
async def open_wire(socket: Path, method: str, path: str, body: object = None, *, framed: bool) -> AsyncIterator[Wire]:
    """Ask the engine for a stream.

    :param socket: the engine's.
    :param path: of the API, with its query.
    :param body: goes along as JSON; the engine is asked for both directions then.
    :raises TerraError: as the engine says it.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(str(socket), limit=2**20)
    except OSError as error:
        raise TerraError(f"the engine does not answer on {socket}: {error.strerror}") from error
    try:
        writer.write(_request(method, path, body))
        await writer.drain()
        async with asyncio.timeout(_HEAD_SECONDS):
            await _expect_success(reader)
        yield Wire(reader, writer, framed=framed)
    finally:
        writer.close()


def _request(method: str, path: str, body: object) -> bytes:
    if body is None:  # HTTP/1.0, so that the answer comes without chunks
        return f"{method} {path} HTTP/1.0\r\nHost: engine\r\n\r\n".encode()
    data = json.dumps(body).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: engine\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n"
    return f"{head}Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n".encode() + data


async def _expect_success(reader: asyncio.StreamReader) -> None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise TerraError("the engine ended the connection without an answer") from None
    status = head.split(b" ", 2)[1:2]
    if status in ([b"101"], [b"200"]):
        return
    said = await reader.read(_CHUNK)
    try:
        message = json.loads(said.partition(b"\r\n")[2] if b"chunked" in head else said)["message"]
    except (ValueError, KeyError, TypeError):
        message = said.decode(errors="replace").strip()
    raise TerraError(f"the engine refused it: {message}")
