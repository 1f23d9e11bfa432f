"""``terra restore``: a controller as it was when it was backed up."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from terra_core.cli.terminal import echo


@click.command("restore")
@click.option(
    "--root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("/"),
    metavar="DIR",
    help="Put it below DIR, for a controller that is started with the same option.",
)
@click.argument("file", metavar="FILE")
def command(root: Path, file: str) -> None:
    """Put back what terra backup wrote to FILE, or what comes on standard input for "-".

    Nothing is replaced: there must be no controller's files yet. All of the backup is verified before the first file is put
    there.
    """
    from terra_core.cli.output import reporter
    from terra_core.config.controller import Paths
    from terra_core.controller.restoring import restore_backup
    from terra_core.errors import TerraError
    from terra_core.system.reading import open_regular
    from terra_core.system.signals import interruptible

    paths = Paths(root.absolute())
    with interruptible(), reporter() as report:
        if file == "-":
            manifest = restore_backup(sys.stdin.buffer, paths, report)
        else:
            try:
                source = open_regular(Path(file))
            except OSError as error:
                raise TerraError(f"{file}: cannot be read: {error.strerror}") from error
            with source:
                manifest = restore_backup(source, paths, report)
    for line in manifest.left_out:
        echo(f"was not in the backup: {line}", err=True)
    echo(f"restored the controller of {manifest.host} as it was at {manifest.made}, {len(manifest.entries)} files", err=True)
    echo("the volumes of machines come from your own copies; the controller names those that are missing", err=True)
