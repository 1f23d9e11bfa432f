"""``terra audit``: who changed what, when and from where."""

from __future__ import annotations

import json

import click

from terra_core.cli.completion import hostnames
from terra_core.cli.forms import json_option
from terra_core.cli.terminal import echo


@click.command("audit")
@click.option("-n", "count", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many of the last entries.")
@click.option("--host", default="", metavar="HOSTNAME", shell_complete=hostnames, help="Only those of this machine.")
@json_option()
@click.pass_context
def command(ctx: click.Context, count: int, host: str, json_wanted: bool) -> None:
    """Show the last changes that were asked of the controller, oldest first, and the requests that it refused."""
    from terra_core.cli.connection import connect
    from terra_core.cli.tables import print_table
    from terra_core.client.answers import as_json

    entries = connect(ctx).audit(count, host)
    if json_wanted:
        echo(json.dumps([as_json(entry) for entry in entries], indent=1))
        return
    print_table(
        ("TIME", "WHO", "FROM", "WHAT", "RESULT"),
        [
            (
                entry.time,
                entry.who or "-",
                entry.address,
                " ".join(filter(None, (entry.action, entry.subject, entry.detail))),
                entry.result,
            )
            for entry in entries
        ],
    )
