"""``terra delete``: a machine goes."""

from __future__ import annotations

import click

from terra_core.cli.terminal import echo


@click.command("delete")
@click.argument("hostname")
@click.pass_context
def command(ctx: click.Context, hostname: str) -> None:
    """Take a machine's boot files, targets and disks away, its data included."""
    from terra_core.cli.connection import carry_out, connect
    from terra_core.cli.values import option_value
    from terra_core.config.values import parse_hostname

    name = option_value("HOSTNAME", hostname, parse_hostname)
    client = connect(ctx)
    carry_out(client, lambda: client.delete(f"/v1/nodes/{name}"))
    echo(f"{name} is deleted", err=True)
