"""``terra versions``: the versions of its system that a machine's disks hold."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from terra_core.cli.forms import NamedPath
from terra_core.cli.terminal import echo

if TYPE_CHECKING:
    from terra_core.upgrade.trial import State
    from terra_core.versions.look import Version

_SHORT = 19


@click.command("versions")
@click.option("--remove", "removed", metavar="VERSION", help="Remove a version that does not run, with all that it holds.")
@click.option("-o", "form", type=click.Choice(("table", "json")), default="table", help="How to print them.")
@click.option(
    "--root", "place", type=NamedPath(path_type=Path), default=Path("/"), help="Where the system's root is mounted. Default: /"
)
def command(removed: str | None, form: str, place: Path) -> None:
    """List the versions of its system that this machine's disks hold: which one runs, and what the next start does."""
    import json

    from terra_core.cli.output import reporter
    from terra_core.cli.tables import print_table
    from terra_core.errors import TerraError
    from terra_core.system.signals import interruptible
    from terra_core.upgrade import trial
    from terra_core.versions.look import versions

    if removed is not None:
        with interruptible(), reporter() as report:
            trial.remove(removed, place, report=report)
        echo(f"{removed} is removed", err=True)
        return
    with interruptible():
        try:
            now = trial.state(place)
        except TerraError as error:
            now, unknown = trial.State(running=""), error.message
        else:
            unknown = ""
    with interruptible():
        found = versions(place)
    if now.left:
        text = "a half of a version, of an upgrade that did not come to its end, takes room"
        echo(f"{text}: the next start of the machine removes it, or the next terra upgrade", err=True)
    if form == "json":
        echo(json.dumps([_as_json(version, now) for version in found], indent=1))
        return
    print_table(
        ("VERSION", "IMAGE", "DIGEST", "LAID DOWN", "STATE"),
        [
            (
                version.name,
                version.record.image if version.record else "",
                version.record.digest[:_SHORT] if version.record else "",
                version.record.laid[:16].replace("T", " ") if version.record else "",
                ", ".join(_states(version, now)),
            )
            for version in found
        ],
    )
    for version in found:
        if version.problem:
            echo(f"{version.name}: {version.problem}", err=True)
        if version.name in now.failed:
            failure = now.failed[version.name]
            echo(f"{version.name}: given up{failure.time and ' at '}{failure.time}: {failure.reason}", err=True)
    for text in (*now.problems, *([unknown] if unknown else [])):
        echo(f"what is started by itself is not known of every disk: {text}", err=True)


def _states(version: Version, now: State) -> list[str]:
    """Return in words what a version is to the machine."""
    if version.record is None:
        return ["unreadable"]
    name = version.name
    found = {
        "running on trial": version.running and now.trying,
        "running": version.running and not now.trying,
        "kept": name in now.kept,
        "tried at the next start": name in now.once,
        "given up": name in now.failed,
    }
    return [state for state, holds in found.items() if holds] or ["laid down"]


def _as_json(version: Version, now: State) -> dict[str, object]:
    record, name = version.record, version.name
    failure = now.failed.get(name)
    return {
        "version": name,
        "state": _states(version, now)[0].partition(" on trial")[0],
        "running": version.running,
        "on_trial": version.running and now.trying,
        "kept": name in now.kept,
        "tried_next": name in now.once,
        "given_up": {"reason": failure.reason, "time": failure.time} if failure else None,
        "problem": version.problem,
        "image": record.image if record else None,
        "digest": record.digest if record else None,
        "layers": list(record.layers) if record else [],
        "laid": record.laid if record else None,
    }
