"""The ``vab`` command, the container assembly builder: images from Dockerfiles, beside machines."""

from __future__ import annotations

import click

from terra_core.cli import end, run
from terra_docker.vab.build import build
from terra_docker.vab.cron import cron


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show more, and a traceback when something fails.")
@click.option(
    "--engine", metavar="ADDRESS", help="Where the Docker Engine listens. Default: DOCKER_HOST, or unix:///var/run/docker.sock"
)
@click.version_option(package_name="terra-docker", prog_name="vab")
@click.pass_context
def vab(ctx: click.Context, debug: bool, engine: str | None) -> None:
    """Container assembly builder: images from Dockerfiles, to an engine, a registry, an archive or a directory."""
    ctx.obj = {"debug": debug, "engine": engine}


vab.add_command(build)
vab.add_command(cron)


def main(arguments: list[str] | None = None) -> None:
    """Run the ``vab`` command: exit code 0 when done, 1 failed, 2 wrong usage or configuration, 130 interrupted."""
    end(run(vab, arguments))
