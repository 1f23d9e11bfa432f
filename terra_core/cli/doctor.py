"""``terra doctor``: whether all is as the controller's database says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from terra_core.cli.forms import NamedPath
from terra_core.cli.terminal import echo

if TYPE_CHECKING:
    from terra_core.doctor import Looked


@click.command("doctor")
@click.option("--fix", is_flag=True, help="Ask the controller to mend what it can, and look again.")
@click.option("-o", "--output", "form", type=click.Choice(["text", "json"]), default="text", help="How to print it.")
@click.option(
    "--config",
    "source",
    type=NamedPath(path_type=Path),
    metavar="FILE",
    help="The controller's configuration; /etc/terra/controller.toml when left out.",
)
@click.option(
    "--root",
    type=NamedPath(path_type=Path, file_okay=False),
    default=Path("/"),
    metavar="DIR",
    help="Where all that the controller owns is, if elsewhere.",
)
@click.pass_context
def command(ctx: click.Context, fix: bool, form: str, source: Path | None, root: Path) -> int:
    """Look whether everything is as the controller's database says, on the controller's host and as root.

    Volumes, targets, boot files, services, mounts, loop devices, files and installed packages are looked at, by code that
    shares nothing with the controller's, whether that runs or not. Nothing is changed without --fix. The exit code is 1 when
    something is off.
    """
    from terra_core.config.controller import Paths
    from terra_core.errors import TerraError
    from terra_core.plugins import Plugins

    if os.geteuid() != 0:
        raise TerraError("the disks and services of machines are root's to look at", hint="run it as root, such as with sudo")
    try:
        from terra_core.doctor import look
    except ModuleNotFoundError as error:
        hint = "it looks at a controller's host, where Terra is installed with what the controller needs"
        raise TerraError(f"terra doctor needs {error.name}, which is not installed", hint=hint) from error
    paths, plugins = Paths(root.absolute()), Plugins.discover()
    mended: tuple[str, ...] = ()
    found = look(source, paths, plugins)
    if fix and found.controller is None:
        raise TerraError("nobody can mend anything: the controller does not run", hint="start it: systemctl start controller")
    if fix:
        mended = _mend(ctx, paths.root)
        found = look(source, paths, plugins)
    _show(found, mended, form)
    return 1 if found.off else 0


def _mend(ctx: click.Context, root: Path) -> tuple[str, ...]:
    from terra_core.cli.connection import connect, following
    from terra_core.errors import TerraError

    client = connect(ctx)
    other = client.info().root
    if os.path.realpath(other) != os.path.realpath(root):
        hint = f"name that of {root}: terra --controller ADDRESS doctor --fix --root {root}"
        raise TerraError(f"the controller that answers has {other} for its root, and not {root}", hint=hint)
    with following() as report:
        return client.mend(report).mended


def _show(found: Looked, mended: tuple[str, ...], form: str) -> None:
    if form == "json":
        import json

        echo(json.dumps({**found.as_json(), "mended": list(mended)}, indent=1))
        return
    for text in mended:
        echo(f"mended: {text}")
    for note in found.notes:
        echo(f"note: {note}", err=True)
    for one in found.off:
        echo(_indented(f"{one.part}: {one.hostname + ': ' if one.hostname else ''}{one.problem}"))
        if one.hint:
            echo(f"    {_indented(one.hint)}")
    machines = "1 machine" if found.machines == 1 else f"{found.machines} machines"
    count = {0: "nothing is off", 1: "one thing is off"}.get(len(found.off), f"{len(found.off)} things are off")
    echo(f"{machines} in the database; {count}", err=bool(found.off))


def _indented(text: str) -> str:
    """Return a text whose further lines are none of their own: a file's name may have any."""
    return text.replace("\n", "\n        ")
