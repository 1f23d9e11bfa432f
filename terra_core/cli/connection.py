"""What the commands share that ask a controller."""

from __future__ import annotations

from typing import Any

import click

from terra_core.client import Client

DEFAULT_ADDRESS = "127.0.0.1"


def connect(ctx: click.Context) -> Client:
    """The client of the controller that ``--controller`` names."""
    return Client(str(ctx.obj["address"] or DEFAULT_ADDRESS))


def carry_out(client: Client, begun: dict[str, Any]) -> Any:  # JSON
    """Follow an operation with its progress on standard error, and give its result.

    SIGTERM cancels the operation as Ctrl-C does.

    :param begun: what the controller answered when the operation began.
    """
    from terra_core.cli.output import reporter
    from terra_core.system.signals import terminating

    with terminating(), reporter() as report:
        return client.follow(begun["operation"], report)
