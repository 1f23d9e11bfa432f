"""``terra backup``: what a controller knows, in one file."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from terra_core.cli.forms import NamedPath
from terra_core.cli.terminal import echo


@click.command("backup")
@click.option(
    "--root",
    type=NamedPath(path_type=Path, file_okay=False),
    default=Path("/"),
    metavar="DIR",
    help="The root that the controller was given.",
)
@click.option(
    "--config",
    "source",
    type=NamedPath(path_type=Path),
    metavar="FILE",
    help="The controller's configuration; /etc/terra/controller.toml when left out.",
)
@click.option("--no-database", is_flag=True, help="Leave the state out, such as where a database server of your own keeps it.")
@click.argument("file", metavar="FILE")
def command(root: Path, source: Path | None, no_database: bool, file: str) -> None:
    """Write a controller's state, configuration, secrets and boot files to FILE, or to standard output for "-".

    Run it on the controller's host; the controller may run meanwhile. Whoever has the file has the controller's secrets. The
    volumes of machines are not in it.
    """
    from terra_core.cli.output import reporter, size_of
    from terra_core.config.controller import Paths
    from terra_core.controller.archive import PLACES
    from terra_core.controller.backup import files_named, write_backup
    from terra_core.controller.configuration import load_config
    from terra_core.errors import TerraError
    from terra_core.plugins import Plugins
    from terra_core.system.files import replacing
    from terra_core.system.signals import interruptible

    paths = Paths(root.absolute())
    if file != "-" and (own := next((paths.root / one for one in PLACES if _is_below(Path(file), paths.root / one)), None)):
        hint = f"choose a place outside of {own}"
        raise TerraError(f"{file}: every further backup would hold this one, as it holds all of {own}", hint=hint)
    place = Path(file)
    if file != "-" and place.exists() and not place.is_file() and not place.is_symlink():  # the backup would take its place
        hint = "choose another name, or lead the backup there: terra backup - > FILE"
        raise TerraError(f"{file}: is there, and is no regular file", hint=hint)
    document = load_config(source, paths, Plugins.discover())
    config, named = document.value, files_named(source, document.raw)
    with interruptible(), reporter() as report:
        if file == "-":
            if sys.stdout.isatty():
                raise TerraError("a backup is not for a terminal", hint="lead it on: terra backup - | ssh HOST 'cat > FILE'")
            try:
                manifest = write_backup(config, paths, sys.stdout.buffer, report, database=not no_database, named=named)
                sys.stdout.buffer.flush()
            except BrokenPipeError:
                raise
            except OSError as error:
                raise TerraError(f"the backup cannot be written: {error.strerror}") from error
        else:
            try:
                with replacing(Path(file), mode=0o600) as output:
                    manifest = write_backup(config, paths, output, report, database=not no_database, named=named)
            except OSError as error:
                raise TerraError(f"{file}: cannot be written: {error.strerror}") from error
    for line in manifest.left_out:
        echo(f"not in the backup: {line}", err=True)
    size = size_of(sum(entry.size for entry in manifest.entries))
    echo(f"{len(manifest.entries)} files and directories, {size}; the volumes of machines are not among them", err=True)


def _is_below(file: Path, place: Path) -> bool:
    from terra_core.errors import TerraError
    from terra_core.system.files import resolved

    try:
        return resolved(file).is_relative_to(resolved(place))
    except OSError as error:
        raise TerraError(f"{error.filename}: cannot be written: {error.strerror}") from error
