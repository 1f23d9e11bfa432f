"""Waiting for a state, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event
from typing import TypeVar

from terra_core.errors import TerraError

T = TypeVar("T")


class WaitedInVain(TerraError):  # noqa: N818  # a state, as InterruptedWork is one
    """The time ran out before a state was reached."""


def wait_until(probe: Callable[[], T | None], *, seconds: float, what: str, interval: float = 0.1) -> T:
    """Call ``probe`` again and again until it returns something true, and return that.

    :param probe: returns the state when it is reached, and something false until then.
    :param seconds: how long to wait, in seconds.
    :param what: the state in words, for the message, such as ``"the registry to answer on 127.0.0.1:5000"``.
    :param interval: the pause between two questions, in seconds.
    :returns: what ``probe`` gave.
    :raises WaitedInVain: when the time has run out.
    """
    deadline = time.monotonic() + seconds
    pause = Event()
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            raise WaitedInVain(f"waited {seconds:g} seconds for {what}, in vain")
        pause.wait(interval)
