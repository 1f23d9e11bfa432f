"""The agent: the daemon that runs containers on one machine. ``orbit-server`` starts it."""

from __future__ import annotations

from pathlib import Path

import click

from terra_core.cli import CONTEXT, end, run


@click.command("orbit-server", context_settings=CONTEXT)
@click.option("--debug", is_flag=True, help="Show more, and a traceback when something fails.")
@click.option("-a", "--address", envvar="AGENT_ADDR", metavar="IP", help="The address to answer on. Default: 127.0.0.1")
@click.option("-p", "--port", type=int, metavar="PORT", help="The port to answer on. Default: 9100")
@click.option("--engine", metavar="URL", help="The engine's socket. Default: DOCKER_HOST, or that of Docker.")
@click.option(
    "--config",
    "source",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The configuration; /etc/terra/orbit.toml when left out.",
)
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("/"),
    metavar="DIR",
    help="Put all that the agent owns under DIR.",
)
@click.version_option(package_name="terra-orbit", prog_name="orbit-server")
def command(debug: bool, address: str | None, port: int | None, engine: str | None, source: Path | None, root: Path) -> None:
    """Run containers with addresses of their own, and keep them running.

    They go on when this ends, so that no service notices.
    """
    from terra_core.cli.values import option_value
    from terra_core.config.controller import Paths
    from terra_core.config.values import parse_address
    from terra_core.system.garbage import uncollected
    from terra_core.system.imports import absent

    with uncollected(), absent("rich"):  # for tracebacks in colours, which no log of a daemon has
        from terra_core.service.running import configure_logging
        from terra_orbit.agent.daemon import load_settings, run_agent

    paths = Paths(root.absolute())
    settings = load_settings(source, paths).overridden(
        address=option_value("--address", address, parse_address), port=port, engine=engine
    )
    configure_logging(debug)
    run_agent(settings, paths)


def main(arguments: list[str] | None = None) -> None:
    """Run ``orbit-server``; exit codes as those of ``terra``."""
    end(run(command, arguments))
