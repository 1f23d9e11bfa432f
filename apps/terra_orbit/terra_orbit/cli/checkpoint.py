"""``ob checkpoint``: a container as an image."""

from __future__ import annotations

import click

from terra_core.cli.terminal import echo


@click.command("checkpoint")
@click.option("--ref", required=True, metavar="REF", help="The name of the image.")
@click.option("--live", is_flag=True, help="Store what its programs have in memory, too, where the machine can.")
@click.argument("name", metavar="ID")
@click.pass_context
def command(ctx: click.Context, ref: str, live: bool, name: str) -> None:
    """Store a container's configuration and file system as an image; what is mounted from the host is not part of it.

    With --live, it stands still and has no network meanwhile; whoever can pull the image can read what its programs knew.
    """
    from terra_orbit.cli.connection import ask

    stored = ask(ctx, name, "checkpoint", {"ref": ref, "live": live})
    echo(f"{name} is stored as {stored['ref']}", err=True)
    echo(stored["image"])
