"""``terra diff``: what was changed on a machine since its image was laid down."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from terra_core.cli.forms import NamedPath
from terra_core.cli.terminal import echo

if TYPE_CHECKING:
    from terra_core.versions.look import Difference


@click.command("diff")
@click.option("-o", "form", type=click.Choice(("table", "json")), default="table", help="How to print them.")
@click.option(
    "--root", "place", type=NamedPath(path_type=Path), default=Path("/"), help="Where the system's root is mounted. Default: /"
)
@click.pass_context
def command(ctx: click.Context, form: str, place: Path) -> None:
    """List the files of this machine that were added, changed or removed since its image was laid down.

    What is mounted below the root, such as subvolumes with data, is no part of the image and is not looked at. Times of files
    do not count.
    """
    from terra_core.cli.output import reporter
    from terra_core.system.signals import interruptible
    from terra_core.versions.look import difference

    with interruptible(), reporter(verbose=bool(ctx.obj and ctx.obj["debug"])) as report:
        found = difference(place, report=report)
    if form == "json":
        _print_json(found)
    else:
        _print(found)


def _print_json(found: Difference) -> None:
    import json

    record = found.record
    rows = [
        {"path": one.path, "change": one.what.value, "kind": one.kind, "details": list(one.details)} for one in found.changes
    ]
    whole = {"version": record.version, "image": record.image, "digest": record.digest, "laid": record.laid}
    echo(json.dumps({**whole, "changes": rows}, indent=1))


def _print(found: Difference) -> None:
    from collections import Counter

    for one in found.changes:
        details = f"  ({', '.join(one.details)})" if one.details else ""
        slash = "/" if one.kind == "directory" and one.path != "/" else ""
        echo(f"{one.what.value:<8}{one.path}{slash}{details}")
    counted = Counter(one.what.value for one in found.changes)
    said = ", ".join(f"{number} {what}" for what, number in sorted(counted.items())) or "nothing has changed"
    echo(f"{said} since {found.record.image} was laid down on {found.record.laid[:16].replace('T', ' ')}", err=True)
