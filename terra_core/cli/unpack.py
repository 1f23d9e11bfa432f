"""``terra unpack``: an image into a directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from terra_core.cli.forms import NamedPath, json_option
from terra_core.cli.terminal import echo

if TYPE_CHECKING:
    from terra_core.config.trust import Trust


@click.command("unpack")
@click.option("--force", is_flag=True, help="Unpack over what the directory holds.")
@click.option("--http", "plain", is_flag=True, help="Fetch by plain HTTP, from a registry without TLS.")
@click.option(
    "--key",
    type=NamedPath(exists=True, dir_okay=False, path_type=Path),
    help="A public key of cosign: an image that is not signed with its private half is refused.",
)
@click.option(
    "--config",
    "source",
    metavar="FILE",
    help="A TOML file of Terra's: who fetches the image is its [plugins] registry, as that plugin's table and [trust] say.",
)
@json_option("Print the result as JSON.", otherwise="text")
@click.argument("image", metavar="IMAGE")
@click.argument("directory", metavar="DIRECTORY", type=NamedPath(path_type=Path))
@click.pass_context
def command(
    ctx: click.Context,
    force: bool,
    plain: bool,
    key: Path | None,
    source: str | None,
    json_wanted: bool,
    image: str,
    directory: Path,
) -> None:
    """Unpack an image into a directory, new or empty, with its owners, modes, attributes and times.

    IMAGE is the name of an image in a registry, oci:DIRECTORY[:TAG] for an OCI image layout, or docker-archive:FILE[:NAME]
    for what `docker save` wrote.
    """
    import json

    from attrs import asdict

    from terra_core.cli.output import reporter, size_of
    from terra_core.config.parts import load_parts
    from terra_core.plugins import Plugins
    from terra_core.system.signals import interruptible
    from terra_core.unpack import unpack_image

    plugins = Plugins.discover()
    config = load_parts(source, plugins.names) if source else None
    trust = _trust(key)
    with interruptible(), reporter(verbose=bool(ctx.obj and ctx.obj["debug"])) as report:
        done = unpack_image(
            image,
            directory,
            config=config,
            trust=trust,
            plain_http=plain,
            force=force,
            report=report,
            plugins=plugins,
        )
    if json_wanted:
        echo(json.dumps(asdict(done), indent=1))
    rate = size_of(int(done.bytes / max(done.seconds, 0.001)))
    what = f"{done.entries} entries, {size_of(done.bytes)} in {done.seconds:.1f} s, {rate}/s"
    echo(f"unpacked {image} ({done.digest}) into {directory}: {done.layers} layers, {what}", err=True)


def _trust(key: Path | None) -> tuple[Trust, ...]:
    from terra_core.config.trust import Trust
    from terra_core.errors import ConfigError

    if key is None:
        return ()
    trust = Trust(key=str(key.absolute()))
    problems = [f"--key: {problem.text}" for problem in trust.problems()]
    if problems:
        raise ConfigError(problems)
    return (trust,)
