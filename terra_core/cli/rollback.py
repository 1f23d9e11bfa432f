"""``terra rollback``: the former version of this machine's system, or of machines of a controller."""

from __future__ import annotations

from pathlib import Path

import click

from terra_core.cli.completion import hostnames
from terra_core.cli.forms import NamedPath
from terra_core.cli.terminal import echo

_JOBS = 8
_HERE = Path("/")


@click.command("rollback")
@click.option("--plan", "only_plan", is_flag=True, help="Print what would be started from now on, and write nothing.")
@click.option("--reboot", is_flag=True, help="Restart the machine at the end.")
@click.option(
    "--root", "place", type=NamedPath(path_type=Path), default=_HERE, help="Where the system's root is mounted. Default: /"
)
@click.option("--to", "version", metavar="VERSION", help="The version to start, as terra versions names it.")
@click.argument("given", metavar="[HOSTNAME...]", nargs=-1, shell_complete=hostnames)
@click.pass_context
def command(
    ctx: click.Context, only_plan: bool, reboot: bool, place: Path, version: str | None, given: tuple[str, ...]
) -> int:
    """Go back to the former version of a system, which is started from the next start on.

    With HOSTNAME, it is machines of the controller. What was written to subvolumes of the system since the upgrade stays with
    the version that goes; other groups are the same for both. An upgrade that a machine has not begun is ended.

    Without HOSTNAME, it is this machine's own system: VERSION, or the newest of those that were laid down before the one that
    is kept, and were not given up; while a version runs on trial or is to be tried, the one that is kept. What is left counts
    as given up. No version is changed or removed: each has its files as they were when it last ran, and the data subvolumes
    belong to none.
    """
    from terra_core.versions.record import number_of

    if not given:
        _local(only_plan, reboot, place, version)
        return 0
    if len(given) == 1 and (number_of(given[0]) or 0) > 0:
        raise click.UsageError(f"{given[0]} is a version: terra rollback --to {given[0]}")
    if only_plan or reboot or version or place != _HERE:
        raise click.UsageError("--plan, --reboot, --root and --to are for this machine's own system, without HOSTNAME")
    return _fleet(ctx, given)


def _local(only_plan: bool, reboot: bool, place: Path, version: str | None) -> None:
    from terra_core.cli.output import reporter
    from terra_core.cli.restart import restart
    from terra_core.system.signals import interruptible
    from terra_core.upgrade.trial import former, go_back

    with interruptible():
        going_back = former(version, place)
    echo(f"started until now: {', '.join(going_back.kept)}", err=True)
    echo(f"started from now on: {going_back.version}, of {going_back.image}, laid down at {going_back.laid}", err=True)
    echo(f"it has its files as they were when it last ran; {going_back.running} runs until the machine is restarted", err=True)
    for name in going_back.left:
        echo(f"{name} counts as given up: terra upgrade does not try it again, terra rollback --to {name} starts it", err=True)
    if only_plan:
        return
    with interruptible(), reporter() as report:
        told = go_back(going_back, place, report=report)
    for text in told.problems:
        echo(f"warning: {text}", err=True)
    if reboot:
        restart(place)


def _fleet(ctx: click.Context, given: tuple[str, ...]) -> int:
    from terra_core.cli.connection import connect, for_each, said_of
    from terra_core.cli.values import option_value
    from terra_core.config.values import parse_hostname
    from terra_core.errors import TerraError

    names = list(dict.fromkeys(str(option_value("HOSTNAME", name, parse_hostname)) for name in given))
    client = connect(ctx)
    results = for_each(names, _JOBS, client.rollback)
    for name, found in results.items():
        if isinstance(found, TerraError):
            echo(f"Error: {said_of(name, found)}", err=True)
        elif found.upgrade is not None and found.upgrade.phase == "left":
            echo(f"{name} keeps {found.image}", err=True)
        else:
            echo(f"{name} boots {found.image} at its next start", err=True)
    return 1 if any(isinstance(found, TerraError) for found in results.values()) else 0
