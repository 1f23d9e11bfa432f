"""``terra hosts``: the hosts whose controllers have one database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from terra_core.cli.terminal import echo

if TYPE_CHECKING:
    from terra_core.client.answers import HostShown


@click.command("hosts")
@click.option("--forget", metavar="NAME", help="Forget a host that is silent or stopped, and does not come back.")
@click.option("--with-machines", is_flag=True, help="With --forget: give up the machines that it alone has the disks of.")
@click.option("--unfence", metavar="NAME", help="Let a host serve machines again whose place another one had to take.")
@click.option("--json", "json_wanted", is_flag=True, help="The same as -o json.")
@click.option("-o", "form", type=click.Choice(("table", "wide", "json")), default="table", help="How to print them.")
@click.pass_context
def command(
    ctx: click.Context, forget: str | None, with_machines: bool, unfence: str | None, json_wanted: bool, form: str
) -> None:  # fmt: skip
    """List the hosts of the controller's database; wide is with their storage addresses, stores and versions.

    A host is working, waiting until it has the lead, stopped, silent when nothing was heard of it for twenty seconds, or fenced
    when another one took its place: it never leads again before it is let in. After terra host drain it is draining until it
    has given the lead away, and drained then. Where hosts have stores of their own, the number of machines is shown of each.
    """
    import json

    from terra_core.cli.connection import connect
    from terra_core.client.answers import as_json

    if forget is not None and unfence is not None:
        raise click.UsageError("--forget and --unfence are two things")
    if with_machines and forget is None:
        raise click.UsageError("--with-machines belongs to --forget")
    client = connect(ctx)
    if forget is not None:
        hosts: tuple[HostShown, ...] = (client.forget_host(forget, with_machines=with_machines),)
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

    own = any(host.local_store for host in hosts)
    more = (*(("MACHINES",) if own else ()), *(("PORTAL", "STORE", "VERSION", "STARTED") if wide else ()))
    print_table(
        ("NAME", "STATE", "LEADS", "URL", "SEEN", *more),
        [
            (
                host.name,
                host.state,
                "yes" if host.leads else "no",
                host.url,
                _time(host.seen),
                *((str(host.machines),) if own else ()),
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
            nothing = "no lead, and no new machines" if host.local_store else "no lead"
            echo(f"{host.name} takes {nothing}: it is drained, until terra host resume {host.name}", err=True)
        if host.trouble:
            echo(f"{host.name}: {host.trouble}", err=True)


def _time(text: str) -> str:
    """Return a time without its fraction of a second."""
    return text[:19].replace("T", " ")
