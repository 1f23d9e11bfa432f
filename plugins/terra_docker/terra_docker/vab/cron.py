"""``vab cron``: build and push a list of images, for a nightly timer."""

from __future__ import annotations

from pathlib import Path

import click

from terra_core.cli.terminal import echo
from terra_docker.vab.options import engine_settings, read_duration


@click.command()
@click.option(
    "--keep", required=True, metavar="DURATION", callback=read_duration, help="Keep what is younger, such as 24h, 7d or 2w."
)
@click.option(
    "--build-cache", is_flag=True, help="Prune BuildKit's cache too, all that is old: the engine does not say whose it is."
)
@click.option(
    "--release", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Build and push the images that FILE lists."
)
@click.pass_context
def cron(ctx: click.Context, keep: int, build_cache: bool, release: Path | None) -> None:
    """Remove what old builds left in the engine, and build and push the images of a list."""
    from terra_core.cli.output import reporter
    from terra_core.system.signals import terminating
    from terra_docker.prune import prune
    from terra_docker.release import build_release, load_release

    listed = load_release(release) if release else ()
    settings = engine_settings(ctx)
    pruned = prune(settings, keep, build_cache=build_cache)
    echo(f"pruned {pruned.count} of vab's leftovers, {pruned.bytes / 1000**2:.1f} MB", err=True)
    with terminating(), reporter(verbose=ctx.obj["debug"]) as report:
        for line in build_release(listed, settings, report):
            echo(line)
