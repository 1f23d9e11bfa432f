"""``vab build``: an image from a Dockerfile."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from terra_core.cli.terminal import echo
from terra_docker.vab.options import engine_settings, read_arguments

if TYPE_CHECKING:
    from terra_core.config.values import ImageReference
    from terra_docker.assemble import Outputs

_DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.option("-r", "--ref", metavar="IMAGE", help="The name of the image, such as registry.example/tools:1.")
@click.option("-p", "--push", is_flag=True, help="Push it when it is built.")
@click.option("-d", "--dockerfile", "directory", type=_DIRECTORY, help="The Dockerfile's directory. Default: the context.")
@click.option("-c", "--context", type=_DIRECTORY, default=".", help="The directory that ADD and COPY see. Default: this one.")
@click.option("--dry", is_flag=True, help="Build, and export nothing: no name, no push, no file.")
@click.option("--local", is_flag=True, help="Write the file system of the image to the directory of --output.")
@click.option("--oci", is_flag=True, help="Write an OCI archive to the file of --output, or to standard output.")
@click.option("--output", type=click.Path(path_type=Path), help="The directory of --local, or the file of --oci.")
@click.option(
    "-a", "--arg", "arguments", multiple=True, metavar="KEY=VALUE", callback=read_arguments, help="A value for ARG; repeat it."
)
@click.option("-i", "--http", is_flag=True, help="The registry may have no TLS, or a certificate that is not trusted.")
@click.option("--no-cache", is_flag=True, help="Run every step again.")
@click.option("--detail", is_flag=True, help="Show every line of output.")
@click.option(
    "--builder",
    type=click.Choice(["auto", "classic", "buildkit"]),
    default="auto",
    help="What builds it. Default: auto, the classic builder, or BuildKit for a Dockerfile that needs it.",
)
@click.pass_context
def build(
    ctx: click.Context,
    ref: str | None,
    push: bool,
    directory: Path | None,
    context: Path,
    dry: bool,
    local: bool,
    oci: bool,
    output: Path | None,
    arguments: Mapping[str, str],
    http: bool,
    no_cache: bool,
    detail: bool,
    builder: str,
) -> None:
    """Build an image from a Dockerfile."""
    _check_usage(ref, push=push, local=local, oci=oci, output=output, http=http, dry=dry)
    from terra_core.cli.output import reporter
    from terra_core.system.signals import terminating
    from terra_docker.assemble import Outputs, assemble, request

    reference = _reference(ref)
    outputs = Outputs() if dry else _outputs(push, http, output if local else None, oci, output)
    with terminating(), reporter(verbose=detail or ctx.obj["debug"]) as report, request(context, directory) as prepared:
        asked = prepared(reference=None if dry else reference, no_cache=no_cache, arguments=arguments)
        done = assemble(asked, outputs, engine_settings(ctx, builder), report)
    name = done.built.reference or "an image without a name"
    size = f"{done.built.size / 1000**2:.1f} MB"
    if done.digest:
        echo(f"built {name} ({size}), and pushed it", err=True)
        echo(f"{name}@{done.digest}", err=outputs.archive is sys.stdout.buffer)
    else:
        echo(f"built {name} ({size})", err=True)
        if outputs.archive is not sys.stdout.buffer:
            echo(f"{done.built.reference or '-'} {done.built.id}")


def _check_usage(
    ref: str | None, *, push: bool, local: bool, oci: bool, output: Path | None, http: bool, dry: bool
) -> None:
    wrong = {
        "--push needs --ref: an image is pushed under a name.": push and not ref and not dry,
        "--http says how to push, and needs --push.": http and not push,
        "--local and --oci have one --output: take one of them.": local and oci,
        "--local needs --output, the directory to write to.": local and output is None,
        "--output is for --local and --oci.": output is not None and not local and not oci,
        "Nothing would be left of the build: give --ref, --local, --oci or --dry.": not (ref or local or oci or dry),
        "--oci does not write to a terminal: give --output, or a pipe.": oci
        and output is None
        and not dry
        and sys.stdout.isatty(),
    }
    for message, is_so in wrong.items():
        if is_so:
            raise click.UsageError(message)


def _reference(ref: str | None) -> ImageReference | None:
    from terra_core.config.values import parse_image_reference
    from terra_core.errors import ConfigError

    if ref is None:
        return None
    try:
        return parse_image_reference(ref)
    except ValueError as error:
        raise ConfigError([f"--ref: {error}"]) from None


def _outputs(push: bool, http: bool, tree: Path | None, oci: bool, output: Path | None) -> Outputs:
    from terra_docker.assemble import Outputs

    archive: Path | BinaryIO | None = None
    if oci:
        archive = output if output is not None else sys.stdout.buffer
    return Outputs(push=push, http=http, tree=tree, archive=archive)
