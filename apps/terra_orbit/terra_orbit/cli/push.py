"""``ob push``: a container as an image, in a registry."""

from __future__ import annotations

import click

from terra_core.cli.terminal import echo


@click.command("push")
@click.argument("name", metavar="ID")
@click.argument("ref", metavar="REF")
@click.pass_context
def command(ctx: click.Context, name: str, ref: str) -> None:
    """Store a container's configuration and file system as the image REF, and push that to its registry."""
    from terra_orbit.cli.connection import ask

    stored = ask(ctx, name, "push", {"ref": ref})
    echo(f"{name} is pushed as {stored['ref']}", err=True)
