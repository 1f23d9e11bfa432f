"""``terra delete``: remove a machine."""

from __future__ import annotations

import re

import click

from terra_core.cli.completion import hostnames
from terra_core.cli.terminal import echo

_JOBS = 8
_FORMER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


@click.command("delete")
@click.argument("given", metavar="HOSTNAME...", nargs=-1, required=True, shell_complete=hostnames)
@click.option("--force", is_flag=True, help="Also while a machine is logged in to its disks.")
@click.pass_context
def command(ctx: click.Context, given: tuple[str, ...], force: bool) -> int:
    """Take machines' boot files, targets and disks away, their data included."""
    from terra_core.cli.connection import connect, following, for_each, said_of
    from terra_core.cli.values import option_value
    from terra_core.errors import TerraError

    names = list(dict.fromkeys(str(option_value("HOSTNAME", name, _name)) for name in given))
    client = connect(ctx)
    if len(names) == 1:
        with following() as report:
            client.delete(names[0], report, force=force)
        echo(f"{names[0]} is deleted", err=True)
        return 0
    results = for_each(names, _JOBS, lambda name, report: client.delete(name, report, force=force))
    for name, error in results.items():
        echo(f"Error: {said_of(name, error)}" if isinstance(error, TerraError) else f"{name} is deleted", err=True)
    return 1 if any(isinstance(error, TerraError) for error in results.values()) else 0


def _name(raw: object) -> str:
    """Return a host name; one that is refused today may be that of a machine of an earlier version, which goes the same way."""
    from terra_core.config.values import parse_hostname

    try:
        return parse_hostname(raw)
    except ValueError:
        if isinstance(raw, str) and _FORMER.fullmatch(raw):
            return raw
        raise
