"""``terra plugin``: begin a new plugin."""

from __future__ import annotations

from pathlib import Path
from shlex import quote

import click

from terra_core.cli.forms import NamedPath
from terra_core.cli.terminal import echo


@click.group("plugin")
def command() -> None:
    """Begin a plugin of your own."""


@command.command("new")
@click.argument("name")
@click.option("--role", required=True, help="The role that it fills, such as store.")
@click.option(
    "--directory", "place", default=".", type=NamedPath(path_type=Path, file_okay=False), help="Where the package goes."
)
def new(name: str, role: str, place: Path) -> None:
    """Write a package with a plugin that installs, fills a role and passes the contract's tests."""
    from terra_core.scaffold import new_plugin

    written = new_plugin(name, role, place)
    for path in written:
        echo(str(path))
    directory = place / f"terra-{name}"
    echo(f"written: {len(written)} files; install and test it with:", err=True)
    echo(f"    pip install --editable {quote(f'{directory}[testing]')} && pytest {quote(str(directory))}", err=True)
