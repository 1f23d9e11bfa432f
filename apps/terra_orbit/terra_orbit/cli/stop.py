"""``ob stop``: stop a container."""

from __future__ import annotations

import click

from terra_core.cli.terminal import echo


@click.command("stop")
@click.option("-t", "--time", "seconds", type=click.IntRange(0, 3600), default=10, help="Seconds to end by itself. Default: 10")
@click.argument("name", metavar="ID")
@click.pass_context
def command(ctx: click.Context, seconds: int, name: str) -> None:
    """Stop a container, and keep it stopped until ob start."""
    from terra_orbit.cli.connection import ask

    ask(ctx, name, "stop", {"seconds": seconds})
    echo(f"{name} is stopped", err=True)
