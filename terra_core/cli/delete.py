"""``terra delete``: remove a machine."""

from __future__ import annotations

import re

import click

from terra_core.cli.completion import hostnames
from terra_core.cli.terminal import echo

_FORMER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


@click.command("delete")
@click.argument("hostname", shell_complete=hostnames)
@click.option("--force", is_flag=True, help="Also while the machine is logged in to its disks.")
@click.pass_context
def command(ctx: click.Context, hostname: str, force: bool) -> None:
    """Take a machine's boot files, targets and disks away, its data included."""
    from terra_core.cli.connection import connect, following
    from terra_core.cli.values import option_value

    name = str(option_value("HOSTNAME", hostname, _name))
    client = connect(ctx)
    with following() as report:
        client.delete(name, report, force=force)
    echo(f"{name} is deleted", err=True)


def _name(raw: object) -> str:
    """Return a host name; one that is refused today may be that of a machine of an earlier version, which goes the same way."""
    from terra_core.config.values import parse_hostname

    try:
        return parse_hostname(raw)
    except ValueError:
        if isinstance(raw, str) and _FORMER.fullmatch(raw):
            return raw
        raise
