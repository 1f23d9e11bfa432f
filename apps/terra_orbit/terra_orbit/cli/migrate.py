"""``ob migrate``: move a container to another agent."""

from __future__ import annotations

import os

import click

from terra_core.cli.terminal import echo


@click.command("migrate")
@click.option("--to", required=True, metavar="ADDRESS", help="The other agent: an address, ADDRESS:PORT, or an https:// URL.")
@click.option("--ref", required=True, metavar="REF", help="The image that it travels as, in a registry that both reach.")
@click.option("--live", is_flag=True, help="Let its programs go on there from where they stand, where both machines can.")
@click.argument("name", metavar="ID")
@click.pass_context
def command(ctx: click.Context, to: str, ref: str, live: bool, name: str) -> None:
    """Move a container to another agent; it stands still meanwhile, and runs here again when that fails.

    The other agent's token is that of TERRA_TARGET_TOKEN, or the same as this one's. What is mounted from the host has to be
    there, too.
    """
    from terra_orbit.cli.connection import ask, connect

    token = os.environ.get("TERRA_TARGET_TOKEN") or connect(ctx).token
    made = ask(ctx, name, "migrate", {"to": to, "token": token, "ref": ref, "live": live})
    addresses = ", ".join(made["addresses"])
    echo(f"{name} runs at {made['agent']}" + (f", with {addresses}" if addresses else ""), err=True)
