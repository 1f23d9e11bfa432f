"""Connecting to a daemon, for every command that needs one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from terra_core.cli.terminal import echo

if TYPE_CHECKING:
    from terra_core.client.connection import Client
    from terra_core.client.controller import ControllerClient
    from terra_core.errors import TerraError
    from terra_core.system.progress import Report

T = TypeVar("T")


def connect(ctx: click.Context) -> ControllerClient:
    """Return the client of the controller that ``--controller`` names."""
    from terra_core.client.controller import ControllerClient

    return ControllerClient(ctx.obj["address"], warn=lambda said: echo(f"Warning: {said}", err=True))


@contextmanager
def following(*, side_by_side: bool = False) -> Iterator[Report]:
    """Show the progress of an operation on standard error; SIGTERM cancels the operation as Ctrl-C does.

    :param side_by_side: as for :func:`terra_core.cli.output.reporter`.
    """
    from terra_core.cli.output import reporter
    from terra_core.system.signals import terminating

    with terminating(), reporter(side_by_side=side_by_side) as report:
        yield report


def for_each(names: Sequence[str], jobs: int, work: Callable[[str, Report], T]) -> dict[str, T | TerraError]:
    """Do the same for several machines, some at a time, with the progress of each on a line of its own.

    Where a signal ends the work here, that of every machine is undone, and those that wait are not begun.

    :param jobs: how many at a time.
    :param work: does it for one; called from several threads.
    :returns: for each machine what came of it, or why it failed.
    :raises InterruptedWork: when a signal ended it; what had ended before stays.
    """
    from concurrent.futures import ThreadPoolExecutor

    from attrs import evolve

    from terra_core.errors import InterruptedWork, TerraError
    from terra_core.system.process import interruption
    from terra_core.system.progress import Event

    ending = threading.Event()

    def one(name: str) -> T | TerraError:
        def told(event: Event) -> None:
            report(evolve(event, step=name, text=f"{event.step}: {event.text}"))

        if ending.is_set():
            return InterruptedWork(f"{name} was not begun")
        interruption.set(ending.is_set)
        try:
            return work(name, told)
        except TerraError as error:
            return error

    with following(side_by_side=True) as report, ThreadPoolExecutor(jobs) as pool:
        begun = {name: pool.submit(one, name) for name in names}
        try:
            return {name: future.result() for name, future in begun.items()}
        except (KeyboardInterrupt, InterruptedWork):
            ending.set()
            raise


def said_of(name: str, error: TerraError) -> str:
    """Return why something failed for a machine, with its name once: the controller's own words may begin with it."""
    said = str(error)
    return said if said.startswith((f"{name} ", f"{name}:")) else f"{name}: {said}"


def carry_out(client: Client, begin: Callable[[], dict[str, Any]]) -> Any:  # JSON
    """Begin an operation, follow it with its progress on standard error, and give its result.

    :param begin: asks the daemon for it.
    """
    with following() as report:
        return client.carry_out(begin, report)
