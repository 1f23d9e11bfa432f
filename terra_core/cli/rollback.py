"""``terra rollback``: a former version of this machine's system, from the next start on."""

from __future__ import annotations

from pathlib import Path

import click

from terra_core.cli.terminal import echo


@click.command("rollback")
@click.option("--plan", "only_plan", is_flag=True, help="Print what would be started from now on, and write nothing.")
@click.option("--reboot", is_flag=True, help="Restart the machine at the end.")
@click.option(
    "--root", "place", type=click.Path(path_type=Path), default=Path("/"), help="Where the system's root is mounted. Default: /"
)
@click.argument("version", metavar="[VERSION]", required=False)
def command(only_plan: bool, reboot: bool, place: Path, version: str | None) -> None:
    """Start VERSION of this machine's system from the next start on, and keep it.

    Without VERSION, it is the newest of those that were laid down before the one that is kept, and were not given up. No
    version is changed or removed: each has its files as they were when it last ran, and the data subvolumes belong to none.
    """
    from terra_core.cli.output import reporter
    from terra_core.cli.restart import restart
    from terra_core.system.signals import interruptible
    from terra_core.upgrade.trial import former, keep

    with interruptible():
        going_back = former(version, place)
    echo(f"started until now: {', '.join(going_back.kept)}", err=True)
    echo(f"started from now on: {going_back.version}, of {going_back.image}, laid down at {going_back.laid}", err=True)
    echo(f"it has its files as they were when it last ran; {going_back.running} runs until the machine is restarted", err=True)
    if only_plan:
        return
    with interruptible(), reporter() as report:
        told = keep(going_back.version, place, report=report)
    for text in told.problems:
        echo(f"warning: {text}", err=True)
    if reboot:
        restart(place)
