"""``ob restore``: a container from a checkpoint."""

from __future__ import annotations

from typing import Any

import click


@click.command("restore")
@click.option("--id", "name", metavar="ID", help="Another id than the one that it had.")
@click.argument("ref", metavar="REF")
@click.pass_context
def command(ctx: click.Context, name: str | None, ref: str) -> None:
    """Make a container of the checkpoint REF, and start it; an image that the engine has not is pulled."""
    from terra_core.cli.connection import carry_out
    from terra_orbit.cli.connection import connect, container

    body: dict[str, Any] = {"image": ref, **({"id": container(name)} if name else {})}
    client = connect(ctx)
    made = carry_out(client, lambda: client.post("/v1/restore", body))
    addresses = ", ".join(made["addresses"])
    click.echo(f"{made['id']} runs" + (f" at {addresses}" if addresses else ""), err=True)
