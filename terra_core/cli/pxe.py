"""``terra pxe``: the network boot loaders."""

from __future__ import annotations

import click

from terra_core.cli.terminal import echo


@click.command("pxe")
@click.argument("image")
@click.pass_context
def command(ctx: click.Context, image: str) -> None:
    """Install the network boot loaders of a pxe image on the controller."""
    from terra_core.cli.connection import carry_out, connect
    from terra_core.cli.values import option_value
    from terra_core.config.values import parse_image_reference

    reference = option_value("IMAGE", image, parse_image_reference)
    client = connect(ctx)
    result = carry_out(client, lambda: client.post("/v1/pxe", {"image": str(reference)}))
    echo(f"{result['image']} ({result['digest']}) is installed: {', '.join(result['files'])}", err=True)
