"""``terra logs``: what happened to a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from terra_core.cli.completion import hostnames
from terra_core.cli.terminal import echo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from terra_core.client.answers import HappeningShown

_WAIT_SECONDS = 10
_KIND_WIDTH = 9


@click.command("logs")
@click.argument("hostname", shell_complete=hostnames)
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C, also when the controller is restarted.")
@click.option("-n", "count", type=click.IntRange(0, 1000), default=1000, help="How many of the last entries; all by default.")
@click.option("-o", "form", type=click.Choice(("text", "json")), default="text", help="How to print them; one JSON a line.")
@click.pass_context
def command(ctx: click.Context, hostname: str, follow: bool, count: int, form: str) -> None:
    """Show what happened to a machine, in order: DHCP, boot files, logins to its disks, its reports, and operations.

    Times are of UTC.
    """
    import json

    from terra_core.cli.connection import connect
    from terra_core.client.answers import as_json
    from terra_core.client.waiting import Asking

    client = connect(ctx)
    found = client.happenings(hostname)
    asking = Asking(client, hostname, lambda said: echo(f"Warning: {said}", err=True), known=found)
    shown: Sequence[HappeningShown] = found[-count:] if count else ()
    last = found[-1] if found else None
    while True:
        for one in shown:
            echo(json.dumps(as_json(one)) if form == "json" else line_of(one))
        if not follow:
            return
        shown = asking.ask(seconds=_WAIT_SECONDS)
        if shown and last and shown[0].generation != last.generation:
            echo(f"{hostname} was deleted, and is another machine now", err=True)
        last = shown[-1] if shown else last


def line_of(one: HappeningShown) -> str:
    """Return something that happened as a line."""
    from terra_core.system.text import joined, one_line

    return f"{one_line(one.time)}  {one_line(one.kind).ljust(_KIND_WIDTH)}  {joined(one.text)}"
