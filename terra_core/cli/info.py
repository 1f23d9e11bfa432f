"""``terra info``: the controller."""

from __future__ import annotations

import click

from terra_core.cli.terminal import echo


@click.command("info")
@click.pass_context
def command(ctx: click.Context) -> None:
    """Show what the controller is and does, as JSON."""
    import json

    from terra_core.cli.connection import connect
    from terra_core.client.answers import as_json

    echo(json.dumps(as_json(connect(ctx).info()), indent=1))
