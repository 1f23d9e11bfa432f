"""``terra restore``: a controller as it was when it was backed up."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from terra_core.cli.forms import NamedPath
from terra_core.cli.terminal import echo

if TYPE_CHECKING:
    from terra_core.controller.archive import Manifest
    from terra_core.system.progress import Report


@click.command("restore")
@click.option(
    "--root",
    type=NamedPath(path_type=Path, file_okay=False),
    default=Path("/"),
    metavar="DIR",
    help="Put it below DIR, for a controller that is started with the same option.",
)
@click.option(
    "--state-only",
    is_flag=True,
    help="Bring the state alone to the empty database server of controller.toml, such as from SQLite; files stay as they are.",
)
@click.option(
    "--config",
    "source",
    type=NamedPath(path_type=Path),
    metavar="FILE",
    help="The controller's configuration for --state-only; /etc/terra/controller.toml when left out.",
)
@click.argument("file", metavar="FILE")
def command(root: Path, state_only: bool, source: Path | None, file: str) -> None:
    """Put back what terra backup wrote to FILE, or what comes on standard input for "-".

    Nothing is replaced: there must be no controller's files yet, and nothing in the database server that the controller.toml in
    FILE may name. All of the backup is verified before the first file is put there.
    """
    from terra_core.cli.output import reporter
    from terra_core.config.controller import Paths
    from terra_core.controller.configuration import load_config
    from terra_core.controller.database import default_url
    from terra_core.controller.restoring import restore_backup, restore_state
    from terra_core.errors import ConfigError, TerraError
    from terra_core.plugins import Plugins
    from terra_core.system.reading import open_regular
    from terra_core.system.signals import interruptible

    paths = Paths(root.absolute())
    if source is not None and not state_only:
        raise ConfigError(["--config goes with --state-only: otherwise the configuration comes from the backup"])

    def restored(content: BinaryIO, report: Report) -> Manifest:
        if not state_only:
            return restore_backup(content, paths, report)
        config = load_config(source, paths, Plugins.discover()).value
        return restore_state(content, paths, config.database or default_url(paths.state), report)

    with interruptible(), reporter() as report:
        if file == "-":
            manifest = restored(sys.stdin.buffer, report)
        else:
            try:
                opened = open_regular(Path(file))
            except OSError as error:
                raise TerraError(f"{file}: cannot be read: {error.strerror}") from error
            with opened:
                manifest = restored(opened, report)
    for line in manifest.left_out:
        echo(f"was not in the backup: {line}", err=True)
    what = "state of the controller" if state_only else "controller"
    files = "" if state_only else f", {len(manifest.entries)} files"
    echo(f"restored the {what} of {manifest.host} as it was at {manifest.made}{files}", err=True)
    if state_only:
        return
    echo("the volumes of machines come from your own copies; the controller names those that are missing", err=True)
