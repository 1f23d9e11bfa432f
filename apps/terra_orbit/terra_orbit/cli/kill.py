"""``ob kill``: a signal to a container."""

from __future__ import annotations

import click

from terra_core.cli.terminal import echo


@click.command("kill")
@click.option("-s", "--signal", default="SIGKILL", metavar="SIGNAL", help="Default: SIGKILL, which also keeps it down.")
@click.argument("name", metavar="ID")
@click.pass_context
def command(ctx: click.Context, signal: str, name: str) -> None:
    """Send a signal to a container's program.

    A container that ends by another signal than SIGKILL is brought back, as after a crash; ob stop keeps it down.
    """
    from terra_orbit.cli.connection import ask

    ask(ctx, name, "kill", {"signal": signal})
    echo(f"{name} got the signal", err=True)
