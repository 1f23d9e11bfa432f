"""``ob update``: a further revision of a container."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from terra_core.cli.terminal import echo

if TYPE_CHECKING:
    from terra_core.client.connection import Client
    from terra_core.config.loader import Document
    from terra_orbit.vhost import Vhost


@click.command("update")
@click.argument("source", metavar="vhost.toml")
@click.pass_context
def command(ctx: click.Context, source: str) -> None:
    """Let a container be what vhost.toml says, and keep its former revision for ob rollback."""
    from terra_core.config.loader import load
    from terra_orbit.cli.connection import connect
    from terra_orbit.vhost import Vhost

    change(connect(ctx), load(source, Vhost))


def change(client: Client, document: Document[Vhost]) -> None:
    """Ask an agent to change a container, and print what was done."""
    from terra_core.cli.connection import carry_out
    from terra_orbit.sending import with_contents

    path, body = f"/v1/containers/{document.value.id}/update", with_contents(document)
    made = carry_out(client, lambda: client.post(path, body))
    what = f"runs revision {made['revision']}" if made["changed"] else "is what it has to be already"
    echo(f"{made['id']} {what}", err=True)
