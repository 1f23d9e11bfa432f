"""``ob restore``: a container from a checkpoint."""

from __future__ import annotations

from typing import Any

import click

from terra_core.cli.terminal import echo


@click.command("restore")
@click.option("--id", "name", metavar="ID", help="Another id than the one that it had.")
@click.option("--live", is_flag=True, help="Let its programs go on from what checkpoint --live stored of their memory.")
@click.argument("ref", metavar="REF")
@click.pass_context
def command(ctx: click.Context, name: str | None, live: bool, ref: str) -> None:
    """Make a container of the checkpoint REF, and start it; an image that the engine has not is pulled.

    With --live, only from somebody whom you would give a root shell: programs come back with the rights that they had.
    """
    from terra_core.cli.connection import carry_out
    from terra_orbit.cli.connection import connect, container

    body: dict[str, Any] = {"image": ref, "live": live, **({"id": container(name)} if name else {})}
    client = connect(ctx)
    made = carry_out(client, lambda: client.post("/v1/restore", body))
    addresses = ", ".join(made["addresses"])
    echo(f"{made['id']} runs" + (f" at {addresses}" if addresses else ""), err=True)
