"""The ``ob`` command. Each subcommand is one module here with a click command named ``command``."""

from __future__ import annotations

import click

from terra_core.cli import CONTEXT, LazyGroup, end, run

_COMMANDS = {
    "create": "Make the container of vhost.toml, and start it.",
    "delete": "Take a container away.",
    "get": "Show all that is known of a container.",
    "list": "List the containers.",
    "start": "Start a container that was stopped.",
    "stop": "Stop a container, and keep it stopped.",
    "kill": "Send a signal to a container.",
    "exec": "Run a program in a container.",
    "logs": "Show what a container has printed.",
    "update": "Let a container be what vhost.toml says, and keep its former revision.",
    "rollback": "Return a container to its former revision.",
    "push": "Store a container as an image, and push that.",
    "checkpoint": "Store a container as an image.",
    "restore": "Make a container of a checkpoint.",
    "migrate": "Move a container to another agent.",
    "config": "Print a complete vhost.toml.",
}


@click.group(cls=LazyGroup, package=__name__, commands=_COMMANDS, context_settings=CONTEXT)
@click.option("--debug", is_flag=True, help="Show more, and a traceback when something fails.")
@click.option(
    "-a",
    "--address",
    envvar="AGENT_ADDR",
    default="127.0.0.1",
    metavar="ADDRESS",
    help="Where the agent is: an address, or an https:// URL. Default: 127.0.0.1",
)
@click.option("-p", "--port", type=click.IntRange(1, 65535), default=9100, metavar="PORT", help="Its port. Default: 9100")
@click.version_option(package_name="terra-orbit", prog_name="ob")
@click.pass_context
def ob(ctx: click.Context, debug: bool, address: str, port: int) -> None:
    """Containers with addresses of their own."""
    ctx.obj = {"debug": debug, "address": address, "port": port}


def main(arguments: list[str] | None = None) -> None:
    """Run the ``ob`` command; exit codes as those of ``terra``."""
    end(run(ob, arguments))
