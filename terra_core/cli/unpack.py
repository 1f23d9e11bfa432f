"""``terra unpack``: an image into a directory."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("unpack")
@click.option("--force", is_flag=True, help="Unpack over what the directory holds.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.argument("image", metavar="IMAGE")
@click.argument("directory", metavar="DIRECTORY", type=click.Path(path_type=Path))
@click.pass_context
def command(ctx: click.Context, force: bool, as_json: bool, image: str, directory: Path) -> None:
    """Unpack an image into a directory, new or empty, with its owners, modes, attributes and times.

    IMAGE is the name of an image in a registry, oci:DIRECTORY[:TAG] for an OCI image layout, or docker-archive:FILE[:NAME]
    for what `docker save` wrote.
    """
    import json

    from attrs import asdict

    from terra_core.cli.output import reporter, size_of
    from terra_core.config.session import Session
    from terra_core.plugins import Plugins
    from terra_core.system.signals import interruptible
    from terra_core.unpack import unpack

    with interruptible(), reporter(verbose=bool(ctx.obj and ctx.obj["debug"])) as report:
        done = unpack(image, directory, plugins=Plugins.discover(), session=Session(report=report), force=force)
    if as_json:
        click.echo(json.dumps(asdict(done), indent=1))
    rate = size_of(int(done.bytes / max(done.seconds, 0.001)))
    what = f"{done.entries} entries, {size_of(done.bytes)} in {done.seconds:.1f} s, {rate}/s"
    click.echo(f"unpacked {image} ({done.digest}) into {directory}: {done.layers} layers, {what}", err=True)
