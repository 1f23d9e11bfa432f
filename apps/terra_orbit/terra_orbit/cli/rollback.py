"""``ob rollback``: the former revision of a container."""

from __future__ import annotations

import click

from terra_core.cli.terminal import echo


@click.command("rollback")
@click.argument("name", metavar="ID")
@click.pass_context
def command(ctx: click.Context, name: str) -> None:
    """Return a container to its former revision, with its file system as it was; what is mounted from the host stays."""
    from terra_orbit.cli.connection import ask

    made = ask(ctx, name, "rollback")
    echo(f"{name} runs revision {made['revision']}", err=True)
