"""Progress events of long work."""

from __future__ import annotations

from collections.abc import Callable

from attrs import frozen


@frozen
class Event:
    """One thing that happened.

    :param step: the name of the step, such as ``apply``; events of one step share it.
    :param text: one line for a person.
    :param done: how far the step is, in ``unit``.
    :param total: where it ends, in ``unit``; ``None`` when that is not known.
    :param unit: ``bytes``, ``steps`` or what else is counted.
    """

    step: str
    text: str
    done: int | None = None
    total: int | None = None
    unit: str = "bytes"


Report = Callable[[Event], None]
"""Takes an event; may raise :class:`terra_core.errors.InterruptedWork` to end the work at this point."""


def silent(event: Event) -> None:
    """Take an event and say nothing."""
