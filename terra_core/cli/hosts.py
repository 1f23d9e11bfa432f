"""``terra hosts``: the hosts whose controllers have one database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from terra_core.cli.terminal import echo

if TYPE_CHECKING:
    from terra_core.client.answers import HostShown


@click.command("hosts")
@click.option("--forget", metavar="NAME", help="Forget a host that is silent or stopped, and does not come back.")
@click.option("--unfence", metavar="NAME", help="Let a host serve machines again whose place another one had to take.")
@click.option("--json", "json_wanted", is_flag=True, help="The same as -o json.")
@click.option("-o", "form", type=click.Choice(("table", "wide", "json")), default="table", help="How to print them.")
@click.pass_context
def command(ctx: click.Context, forget: str | None, unfence: str | None, json_wanted: bool, form: str) -> None:
    """List the hosts of the controller's database; wide is with their storage addresses, stores and versions.

    A host is working, waiting until it has the lead, stopped, silent when nothing was heard of it for twenty seconds, or fenced
    when another one took its place: it never leads again before it is let in. After terra host drain it is draining until it
    has given the lead away, and drained then.
    """
    import json

    from terra_core.cli.connection import connect
    from terra_core.client.answers import as_json

    if forget is not None and unfence is not None:
        raise click.UsageError("--forget and --unfence are two things")
    client = connect(ctx)
    if forget is not None:
        hosts: tuple[HostShown, ...] = (client.forget_host(forget),)
    elif unfence is not None:
        hosts = (client.unfence_host(unfence),)
    else:
        hosts = client.hosts()
    if json_wanted or form == "json":
        echo(json.dumps([as_json(host) for host in hosts], indent=1))
    elif forget is not None:
        echo(f"{forget} is forgotten", err=True)
    elif unfence is not None:
        echo(f"{unfence} is let in again, and waits", err=True)
    else:
        _print(hosts, wide=form == "wide")


def _print(hosts: tuple[HostShown, ...], *, wide: bool) -> None:
    from terra_core.cli.tables import print_table

    print_table(
        ("NAME", "STATE", "LEADS", "URL", "SEEN", *(("PORTAL", "STORE", "VERSION", "STARTED") if wide else ())),
        [
            (
                host.name,
                host.state,
                "yes" if host.leads else "no",
                host.url,
                _time(host.seen),
                *((host.portal, host.store, host.version, _time(host.started)) if wide else ()),
            )
            for host in hosts
        ],
    )
    for host in hosts:
        if host.state == "silent":
            echo(f"{host.name} is silent: nothing was heard of it since {_time(host.seen)}", err=True)
        elif host.state == "fenced":
            echo(f"{host.name} is fenced; to let it in again when it is well: terra hosts --unfence {host.name}", err=True)
        if host.drained:
            echo(f"{host.name} takes no lead: it is drained, until terra host resume {host.name}", err=True)


def _time(text: str) -> str:
    """Return a time without its fraction of a second."""
    return text[:19].replace("T", " ")
