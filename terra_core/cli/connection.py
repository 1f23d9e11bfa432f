"""Connecting to a daemon, for every command that needs one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from terra_core.cli.terminal import echo

if TYPE_CHECKING:
    from terra_core.client.connection import Client
    from terra_core.client.controller import ControllerClient
    from terra_core.system.progress import Report


def connect(ctx: click.Context) -> ControllerClient:
    """Return the client of the controller that ``--controller`` names."""
    from terra_core.client.controller import ControllerClient

    return ControllerClient(ctx.obj["address"], warn=lambda said: echo(f"Warning: {said}", err=True))


@contextmanager
def following() -> Iterator[Report]:
    """Show the progress of an operation on standard error; SIGTERM cancels the operation as Ctrl-C does."""
    from terra_core.cli.output import reporter
    from terra_core.system.signals import terminating

    with terminating(), reporter() as report:
        yield report


def carry_out(client: Client, begin: Callable[[], dict[str, Any]]) -> Any:  # JSON
    """Begin an operation, follow it with its progress on standard error, and give its result.

    :param begin: asks the daemon for it.
    """
    with following() as report:
        return client.carry_out(begin, report)
