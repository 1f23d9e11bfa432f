"""Following an operation from a test, which has no event loop of its own."""

from __future__ import annotations

import asyncio

from terra_core.service.operations import Message, Operation


def heard(operation: Operation, patience: float = 10.0) -> list[Message | None]:
    """Return all that an operation said, to its end; ``None`` for each silence of ``patience`` seconds."""

    async def follow() -> list[Message | None]:
        return [message async for message in operation.messages(patience)]

    return asyncio.run(follow())
