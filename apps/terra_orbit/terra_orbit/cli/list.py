"""``ob list``: the containers."""

from __future__ import annotations

from typing import Any

import click

from terra_core.cli.forms import json_option
from terra_core.cli.terminal import echo

_HEAD = ("ID", "IMAGE", "STATUS", "IP", "CPU", "MEMORY", "PIDS", "SIZE", "REVISIONS")


@click.command("list")
@json_option("Print JSON, with what is wrong with each.")
@click.pass_context
def command(ctx: click.Context, json_wanted: bool) -> None:
    """List the containers."""
    import json

    from terra_core.cli.tables import print_table
    from terra_orbit.cli.connection import connect

    rows = connect(ctx).get("/v1/containers")
    if json_wanted:
        echo(json.dumps(rows, indent=1))
        return
    print_table(_HEAD, [_cells(row) for row in rows])
    for row in rows:
        if row["problem"]:
            echo(f"{row['id']}: {row['problem']}", err=True)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["id"],
        row["image"],
        row["status"],
        ",".join(address.partition("/")[0] for address in row["addresses"]) or "-",
        "-" if row["cpu"] is None else f"{row['cpu']:.1f}%",
        _size(row["memory"]),
        "-" if row["pids"] is None else str(row["pids"]),
        _size(row["size"]),
        str(row["revisions"]),
    )


def _size(count: int | None) -> str:
    if count is None:
        return "-"
    return f"{count / 1024**2:.1f}MB" if count < 1024**3 else f"{count / 1024**3:.1f}GB"
