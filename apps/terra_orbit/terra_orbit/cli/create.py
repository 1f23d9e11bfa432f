"""``ob create``: a container from a vhost.toml."""

from __future__ import annotations

import click

from terra_core.cli.terminal import echo


@click.command("create")
@click.option("--update", "update", is_flag=True, help="Change the container if there is one of this id.")
@click.argument("source", metavar="vhost.toml")
@click.pass_context
def command(ctx: click.Context, update: bool, source: str) -> None:
    """Make the container of vhost.toml (a file, a URL, or - for standard input), and start it."""
    from terra_core.cli.connection import carry_out
    from terra_core.config.loader import load
    from terra_core.errors import NotFoundError
    from terra_orbit.cli.connection import connect
    from terra_orbit.cli.update import change
    from terra_orbit.sending import with_contents
    from terra_orbit.vhost import Vhost

    document = load(source, Vhost)
    client = connect(ctx)
    if update:
        try:
            client.get(f"/v1/containers/{document.value.id}")
        except NotFoundError:
            pass
        else:
            change(client, document)
            return
    body = with_contents(document)
    made = carry_out(client, lambda: client.post("/v1/containers", body))
    addresses = ", ".join(made["addresses"])
    echo(f"{made['id']} runs" + (f" at {addresses}" if addresses else ""), err=True)
