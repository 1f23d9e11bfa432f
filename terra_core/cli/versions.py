"""``terra versions``: the versions of its system that a machine's disks hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from terra_core.cli.terminal import echo

if TYPE_CHECKING:
    from terra_core.versions.look import Version

_SHORT = 19


@click.command("versions")
@click.option("--remove", "removed", metavar="VERSION", help="Remove a version that does not run, with all that it holds.")
@click.option("-o", "form", type=click.Choice(("table", "json")), default="table", help="How to print them.")
@click.option(
    "--root", "place", type=click.Path(path_type=Path), default=Path("/"), help="Where the system's root is mounted. Default: /"
)
def command(removed: str | None, form: str, place: Path) -> None:
    """List the versions of its system that this machine's disks hold, and which one runs."""
    import json

    from terra_core.cli.output import reporter
    from terra_core.cli.tables import print_table
    from terra_core.system.signals import interruptible
    from terra_core.versions.look import remove, versions

    if removed is not None:
        with interruptible(), reporter() as report:
            remove(removed, place, report=report)
        echo(f"{removed} is removed", err=True)
        return
    with interruptible():
        found = versions(place)
    if form == "json":
        echo(json.dumps([_as_json(version) for version in found], indent=1))
        return
    print_table(
        ("VERSION", "IMAGE", "DIGEST", "LAID DOWN", "STATE"),
        [
            (
                version.name,
                version.record.image if version.record else "",
                version.record.digest[:_SHORT] if version.record else "",
                version.record.laid[:16].replace("T", " ") if version.record else "",
                _state(version),
            )
            for version in found
        ],
    )
    for version in found:
        if version.problem:
            echo(f"{version.name}: {version.problem}", err=True)


def _state(version: Version) -> str:
    if version.record is None:
        return "unreadable"
    return "running" if version.running else "kept"


def _as_json(version: Version) -> dict[str, object]:
    record = version.record
    return {
        "version": version.name,
        "state": _state(version),
        "problem": version.problem,
        "image": record.image if record else None,
        "digest": record.digest if record else None,
        "layers": list(record.layers) if record else [],
        "laid": record.laid if record else None,
    }
