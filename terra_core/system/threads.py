"""Doing the same for several things side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(work: Callable[[T], R], items: Sequence[T], *, at_once: int) -> list[R]:
    """Do the same for several things, some of them at a time; return what came of each, in their order.

    The threads are in the caller's network namespace, and have copies of its context variables, such as
    :data:`terra_core.system.process.interruption`. Once it fails for one, no further one is begun, and those that are under way
    end first; what the first of them in the order of ``items`` has raised is raised.

    :param at_once: for how many at a time, at most.
    """
    from concurrent.futures import ThreadPoolExecutor  # no command needs it at its start

    with ThreadPoolExecutor(at_once) as pool:
        begun = [pool.submit(copy_context().run, work, item) for item in items]
        try:
            return [one.result() for one in begun]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
