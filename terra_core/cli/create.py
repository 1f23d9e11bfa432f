"""``terra create``: an image from a server.toml."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from terra_core.cli.forms import NamedPath
from terra_core.cli.terminal import echo

if TYPE_CHECKING:
    from terra_core.config.loader import Document
    from terra_core.config.server import Server
    from terra_core.create import Created, Rendered
    from terra_core.plugins import Plugins
    from terra_core.sbom import Format
    from terra_core.system.progress import Report

_WAYS = ("qemu", "container")
_MOST_BYTES = 16 * 1024 * 1024
_EXAMPLE = {
    "hostname": "example",
    "version": "6",
    "os": "docker.io/stellarproject/terraos:v11",
    "repo": "docker.io/stellarproject",
    "userland": "RUN echo 'terra:terra' | chpasswd\n",
    "#components": ["docker.io/stellarproject/containerd:v4"],
    "ssh": {"keys": []},
    "resolvconf": {"nameservers": ["8.8.8.8", "8.8.4.4"], "search": []},
}


class _Create(click.Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert the default of ``--test`` where no way of testing follows: click would take the file's name for one."""
        following = [*args[1:], ""]
        bare = [word == "--test" and after not in _WAYS for word, after in zip(args, following, strict=False)]
        args = [f"{word}=qemu" if alone else word for word, alone in zip(args, bare, strict=True)]
        return super().parse_args(ctx, args)


@click.command("create", cls=_Create)
@click.option(
    "-c",
    "--context",
    type=NamedPath(exists=True, file_okay=False, path_type=Path),
    help="The directory that ADD and COPY see. Default: that of server.toml.",
)
@click.option(
    "-u",
    "--userland",
    type=NamedPath(exists=True, dir_okay=False, path_type=Path),
    help="A file of Dockerfile lines, in place of the userland of server.toml.",
)
@click.option("--push", is_flag=True, help="Push the image when it is built.")
@click.option("-n", "--dry", is_flag=True, help="Print the Dockerfile and every rendered file and link, and build nothing.")
@click.option("--no-cache", is_flag=True, help="Run every step again.")
@click.option(
    "--test",
    type=click.Choice(_WAYS),
    is_flag=False,
    flag_value="qemu",
    help="Boot the image before it is pushed, in an emulated machine (qemu, the default) or as a container, and fail when its "
    "system does not come up healthy.",
)
@click.option(
    "--test-timeout", type=click.IntRange(1), default=900, metavar="SECONDS", help="How long it may take. Default: 900"
)
@click.option(
    "--sbom",
    type=NamedPath(dir_okay=False, path_type=Path),
    help="Write the list of the image's packages to a file: .cdx.json or .json for CycloneDX, .spdx.json for SPDX.",
)
@click.option("--sbom-format", type=click.Choice(["cyclonedx", "spdx"]), help="Its format, whatever the name of the file is.")
@click.option("--dump", is_flag=True, help="Print a commented server.toml with every key and end.")
@click.argument("source", metavar="server.toml", required=False)
@click.pass_context
def command(
    ctx: click.Context,
    context: Path | None,
    userland: Path | None,
    push: bool,
    dry: bool,
    no_cache: bool,
    test: str | None,
    test_timeout: int,
    sbom: Path | None,
    sbom_format: str | None,
    dump: bool,
    source: str | None,
) -> None:
    """Build a machine's image from server.toml (a file, a URL, or - for standard input)."""
    if dump:
        _dump()
        return
    if source is None:
        raise click.UsageError("Missing argument 'server.toml'.")
    from terra_core.cli.output import reporter
    from terra_core.config.server import Server
    from terra_core.create import check_rendered, create_image, push_image, render_build
    from terra_core.documents import load
    from terra_core.plugins import Plugins
    from terra_core.system.signals import terminating

    plugins = Plugins.discover()
    kind = _format(sbom, sbom_format) if sbom else None
    document = load(source, Server, plugins=plugins)
    context = context or _directory_of(source)
    lines = _read(userland) if userland else None
    if dry:
        rendered = render_build(document, context=context, userland=lines, plugins=plugins)
        check_rendered(document, rendered, plugins=plugins)
        _print_rendered(rendered)
        return
    with terminating(), reporter(verbose=bool(ctx.obj and ctx.obj["debug"])) as report:
        created = create_image(
            document, context=context, userland=lines, no_cache=no_cache, report=report, plugins=plugins
        )
        if test:
            _try(test, created, document, plugins, report, test_timeout)
        if sbom and kind:
            _write_sbom(sbom, kind, created, document, plugins, report)
        if push:
            created = push_image(document, created, report=report, plugins=plugins)
    _print_created(created)


def _dump() -> None:
    from terra_core.candidates import table_examples
    from terra_core.config.example import example
    from terra_core.config.server import Server
    from terra_core.hookspecs import ROLES
    from terra_core.plugins import Plugins
    from terra_core.selection import SERVER

    roles = {role: ROLES[role].default for role in SERVER.roles}
    echo("# A machine's image. Every key is here; those with a \"#\" in front may be left out.\n")
    echo(example(Server, {**_EXAMPLE, "#plugins": roles}), nl=False)
    echo(table_examples(Plugins.discover(), roles), nl=False)


def _try(way: str, created: Created, document: Document[Server], plugins: Plugins, report: Report, seconds: float) -> None:
    from terra_core.trial import WAYS, explain

    trial = WAYS[way](created.id, document, seconds=seconds, report=report, plugins=plugins)
    if not trial.healthy:
        raise explain(trial, created.reference)
    echo(f"tested {created.reference}: its system is {trial.state}", err=True)


def _format(path: Path, said: str | None) -> Format:
    from terra_core.sbom import format_of  # here and below: most runs write none

    if not path.parent.is_dir():
        raise click.BadParameter(f"there is no directory {path.parent}", param_hint="--sbom")
    return format_of(path, said)


def _write_sbom(
    path: Path, kind: Format, created: Created, document: Document[Server], plugins: Plugins, report: Report
) -> None:
    from terra_core.errors import TerraError
    from terra_core.sbom import make_sbom, render
    from terra_core.system.files import output_file

    sbom = make_sbom(created.id, document, report=report, plugins=plugins)
    try:
        with output_file(path) as file:
            file.write(render(sbom, kind))
    except OSError as error:
        raise TerraError(f"{path}: cannot be written: {error.strerror}") from error
    echo(f"wrote {path}: {len(sbom.packages)} packages", err=True)


def _directory_of(source: str) -> Path | None:
    return None if source == "-" or source.startswith(("http://", "https://")) else Path(source).resolve().parent


def _read(path: Path) -> str:
    from terra_core.errors import ConfigError
    from terra_core.system.reading import decoded

    try:
        with path.open("rb") as file:
            return decoded(file.read(_MOST_BYTES))
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    except ValueError as error:
        raise ConfigError([f"{path}: {error}"]) from None


def _print_rendered(rendered: Rendered) -> None:
    echo("--- Dockerfile")
    echo(rendered.dockerfile, nl=False)
    for file in rendered.files:
        text = file.content.decode(errors="replace")
        echo(f"--- /{file.path} ({file.mode:04o} {file.owner})")
        echo(text, nl=not text.endswith("\n"))
    for link in rendered.links:
        echo(f"--- /{link.path} -> {link.target}")


def _print_created(created: Created) -> None:
    size = f"{created.size / 1000**2:.1f} MB"
    if created.pinned:
        where = created.reference.registry
        echo(f"built {created.reference} ({size}, {created.id}), and pushed it to {where}", err=True)
        echo(created.pinned)
    else:
        echo(f"built {created.reference} ({size}) on this machine; --push pushes it", err=True)
        echo(f"{created.reference} {created.id}")
