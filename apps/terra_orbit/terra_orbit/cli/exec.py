"""``ob exec``: a further program in a container."""

from __future__ import annotations

import click


@click.command("exec", context_settings={"allow_interspersed_args": False})
@click.option("-t/-T", "--tty/--no-tty", "tty", default=None, help="Give it a terminal. Default: where standard input is one.")
@click.option("-n", "--no-stdin", is_flag=True, help="Give it no input.")
@click.option("-u", "--user", default="", metavar="USER", help="Run as USER, or USER:GROUP.")
@click.option("-e", "--env", multiple=True, metavar="NAME=VALUE", help="Set an environment variable.")
@click.argument("name", metavar="ID")
@click.argument("args", metavar="COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_context
def command(
    ctx: click.Context, tty: bool | None, no_stdin: bool, user: str, env: tuple[str, ...], name: str, args: tuple[str, ...]
) -> None:
    """Run a program in a container, and end with its exit code."""
    import sys

    from terra_orbit.cli.connection import connect, container
    from terra_orbit.cli.terminal import Session

    if tty is None:
        tty = sys.stdin.isatty() and sys.stdout.isatty() and not no_stdin
    client = connect(ctx)
    session = Session(client, f"/v1/containers/{container(name)}/exec", tty=tty, stdin=not no_stdin)
    ctx.exit(session.run({"args": list(args), "tty": tty, "env": list(env), "user": user}))
