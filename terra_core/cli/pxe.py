"""``terra pxe``: the network boot loaders."""

from __future__ import annotations

import click

from terra_core.cli.terminal import echo


@click.command("pxe")
@click.argument("image")
@click.pass_context
def command(ctx: click.Context, image: str) -> None:
    """Install the network boot loaders of a pxe image on the controller."""
    from terra_core.cli.connection import connect, following
    from terra_core.cli.values import option_value
    from terra_core.config.values import parse_image_reference

    reference = str(option_value("IMAGE", image, parse_image_reference))
    client = connect(ctx)
    with following() as report:
        done = client.install_boot_image(reference, report)
    echo(f"{done.image} ({done.digest}) is installed: {', '.join(done.files)}", err=True)
