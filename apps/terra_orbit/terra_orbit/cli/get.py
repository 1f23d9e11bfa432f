"""``ob get``: one container."""

from __future__ import annotations

import click

from terra_core.cli.terminal import echo


@click.command("get")
@click.argument("name", metavar="ID")
@click.pass_context
def command(ctx: click.Context, name: str) -> None:
    """Show all that is known of a container, as JSON."""
    import json

    from terra_orbit.cli.connection import connect, container

    echo(json.dumps(connect(ctx).get(f"/v1/containers/{container(name)}"), indent=1))
