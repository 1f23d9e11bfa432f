"""``ob delete``: remove containers."""

from __future__ import annotations

import click

from terra_core.cli.terminal import echo


@click.command("delete")
@click.option("-t", "--time", "seconds", type=click.IntRange(0, 3600), default=10, help="Seconds to end by itself. Default: 10")
@click.argument("names", metavar="ID...", nargs=-1, required=True)
@click.pass_context
def command(ctx: click.Context, seconds: int, names: tuple[str, ...]) -> None:
    """Take containers away, their own file systems included; what is mounted from the host stays."""
    from functools import partial

    from terra_core.cli.connection import carry_out
    from terra_orbit.cli.connection import connect, container

    client = connect(ctx)
    for name in [container(name) for name in names]:
        carry_out(client, partial(client.delete, f"/v1/containers/{name}?seconds={seconds}"))
        echo(f"{name} is deleted", err=True)
