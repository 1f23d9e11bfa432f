"""``terra host``: take a host out of work, and put it back."""

from __future__ import annotations

import click

from terra_core.cli.terminal import echo


@click.group("host")
def command() -> None:
    """Drain a host for maintenance, and let it lead again; terra hosts lists all of them."""


@command.command("drain")
@click.argument("name")
@click.option("--wait", "seconds", type=click.IntRange(0), default=600, show_default=True, help="Seconds to wait for its end.")
@click.pass_context
def drain(ctx: click.Context, name: str, seconds: int) -> None:
    """Let the host NAME take no lead until terra host resume NAME.

    One that has the lead begins nothing new, finishes what it has begun, stops its services, and gives the lead to another one.
    The targets of all machines go with it. The storage address has to move there, too, which [failover] of
    controller.toml does.

    A host with a store of its own takes no new machines as well. Those that it has the disks of stay, and it works for them.
    """
    from terra_core.cli.connection import connect, following
    from terra_core.client.draining import wait_until_drained
    from terra_core.errors import InterruptedWork

    client = connect(ctx)
    host = client.drain_host(name)
    again = f"terra host resume {name}"
    if host.local_store:
        stay = "machines stay, and are served and changed there as before"
        said = f"its {host.machines} {stay}" if host.machines else "it has none"
        echo(f"{name} takes no new machines until {again}: {said}", err=True)
    if host.leads and seconds:
        if not host.local_store:
            said = f"machines reach their disks at {host.portal}"
            echo(f"{said}: move it to the host that takes the lead, unless [failover] does", err=True)
        try:
            with following() as report:
                leader = wait_until_drained(client, name, seconds=seconds, report=report)
        except (KeyboardInterrupt, InterruptedWork):
            echo(f"{name} stays drained: {again} ends it", err=True)
            raise
        echo(f"{name} is drained: {leader.name} has the lead, and works", err=True)
    else:
        echo(f"{name} is {host.state}, and takes no lead until {again}", err=True)
    left = [one.name for one in client.hosts() if one.state in ("working", "waiting")]
    if len(left) <= 1:
        echo(f"{' and '.join(left) or 'nobody'} alone may lead now", err=True)


@command.command("resume")
@click.argument("name")
@click.pass_context
def resume(ctx: click.Context, name: str) -> None:
    """Let the host NAME, which was drained, take the lead again when nobody has it."""
    from terra_core.cli.connection import connect

    host = connect(ctx).resume_host(name)
    echo(f"{name} is {host.state}{', and has the lead' if host.leads else ''}", err=True)
