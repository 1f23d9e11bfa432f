"""What the commands share that ask a controller."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from terra_core.client import Client

if TYPE_CHECKING:
    from terra_core.system.progress import Event

DEFAULT_ADDRESS = "127.0.0.1"


def connect(ctx: click.Context) -> Client:
    """The client of the controller that ``--controller`` names."""
    return Client(str(ctx.obj["address"] or DEFAULT_ADDRESS))


def carry_out(client: Client, begin: Callable[[], dict[str, Any]]) -> Any:  # JSON
    """Begin an operation, follow it with its progress on standard error, and give its result.

    SIGTERM cancels the operation as Ctrl-C does.

    :param begin: asks the controller for it; a signal that comes meanwhile waits until it is known what to cancel.
    """
    from terra_core.cli.output import reporter
    from terra_core.system.signals import deferred, terminating

    with terminating(), reporter() as report:
        with deferred() as interrupt:
            operation = begin()["operation"]

        def checked(event: Event) -> None:
            interrupt()
            report(event)

        return client.follow(operation, checked)
