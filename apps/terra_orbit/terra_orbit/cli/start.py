"""``ob start``: start a container."""

from __future__ import annotations

import click

from terra_core.cli.terminal import echo


@click.command("start")
@click.argument("name", metavar="ID")
@click.pass_context
def command(ctx: click.Context, name: str) -> None:
    """Start a container that was stopped."""
    from terra_orbit.cli.connection import ask

    made = ask(ctx, name, "start")
    addresses = ", ".join(made["addresses"])
    echo(f"{name} runs" + (f" at {addresses}" if addresses else ""), err=True)
