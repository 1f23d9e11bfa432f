"""``ob logs``: what a container printed."""

from __future__ import annotations

import click


@click.command("logs")
@click.option("-f", "--follow", is_flag=True, help="Go on with what it prints, until it ends.")
@click.option("-n", "--tail", type=click.IntRange(0, 1_000_000), metavar="LINES", help="Only the last lines.")
@click.argument("name", metavar="ID")
@click.pass_context
def command(ctx: click.Context, follow: bool, tail: int | None, name: str) -> None:
    """Show what a container has printed: its output on standard output, its errors on standard error."""
    import sys

    from terra_orbit.cli.connection import connect, container
    from terra_orbit.frames import ERROR, Frames

    lines = "" if tail is None else f"&tail={tail}"
    frames = Frames()
    for data in connect(ctx).stream(f"/v1/containers/{container(name)}/logs?follow={'true' if follow else 'false'}{lines}"):
        for kind, text in frames.feed(data):
            out = sys.stderr.buffer if kind == ERROR else sys.stdout.buffer
            out.write(text)
            out.flush()
