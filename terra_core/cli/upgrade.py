"""``terra upgrade``: the next version of this machine's system, beside the one that runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from terra_core.cli.terminal import echo

if TYPE_CHECKING:
    from terra_core.upgrade.plan import Plan


@click.command("upgrade")
@click.option("--plan", "only_plan", is_flag=True, help="Print what would be fetched, kept and lost, and write nothing.")
@click.option("--no-try", "untried", is_flag=True, help="Only lay it down: the next start is of the version that is kept.")
@click.option("--reboot", is_flag=True, help="Restart the machine at the end, if there is something to try.")
@click.option("-o", "form", type=click.Choice(("table", "json")), default="table", help="How to print it.")
@click.option("--http", "plain", is_flag=True, help="Fetch the image by plain HTTP, from a registry without TLS.")
@click.option(
    "--root", "place", type=click.Path(path_type=Path), default=Path("/"), help="Where the system's root is mounted. Default: /"
)
@click.argument("image", metavar="[IMAGE]", required=False)
@click.pass_context
def command(
    ctx: click.Context, only_plan: bool, untried: bool, reboot: bool, form: str, plain: bool, place: Path, image: str | None
) -> None:
    """Lay IMAGE down as the next version of this machine's system, beside the one that runs.

    Without IMAGE, it is the image of the node.toml that the machine was installed by, as its tag names it now. Only layers
    are fetched that the disks do not hold. The version that runs stays as it is. The next start tries the new one, once: it
    is kept when it is healthy, and each further start is of the former one when it is not.
    """
    import json

    from terra_core.cli.output import reporter
    from terra_core.cli.restart import restart
    from terra_core.cli.values import option_value
    from terra_core.config.values import parse_image_reference
    from terra_core.system.signals import interruptible
    from terra_core.upgrade.use import upgrade

    reference = option_value("IMAGE", image, parse_image_reference)
    with (
        interruptible(),
        reporter(verbose=bool(ctx.obj and ctx.obj["debug"])) as report,
        upgrade(reference, place, trial=not untried, plain_http=plain, report=report) as planned,
    ):
        plan = planned.plan
        if not only_plan:
            planned.carry_out()
    if form == "json":
        echo(json.dumps(plan.as_json(), indent=1))
    elif only_plan:
        _print(plan)
    else:
        _tell(plan)
    if reboot and plan.tried and not only_plan:
        restart(place)


def _print(plan: Plan) -> None:
    from terra_core.cli.output import size_of

    echo(f"{plan.former.version}: {plan.former.image} ({plan.former.digest})")
    if plan.there:
        echo(f"{plan.there}: is of {plan.image} ({plan.digest}) already: nothing is laid down")
        echo(_next(plan))
        return
    echo(f"{plan.version}: {plan.image} ({plan.digest})")
    echo(f"layers: {plan.present} of {len(plan.layers)} are on the disks, {size_of(plan.fetched)} to fetch")
    for path in plan.kept:
        echo(f"kept    {path}")
    for one in plan.lost:
        echo(f"lost    {one.path}  ({one.what.value})")
    for name in plan.removed:
        echo(f"removed {name}  (a version)")
    echo(_next(plan))


def _tell(plan: Plan) -> None:
    if plan.there:
        echo(f"{plan.there} is of {plan.image} ({plan.digest}) already", err=True)
    else:
        lost = f"; it does not have {len(plan.lost)} local changes of {plan.former.version}" if plan.lost else ""
        echo(f"{plan.version} is laid down beside {plan.former.version}, of {plan.image}{lost}", err=True)
        for name in plan.removed:
            echo(f"{name} is removed: [upgrade] versions of node.toml says how many there may be", err=True)
    echo(_next(plan), err=True)


def _next(plan: Plan) -> str:
    if plan.tried:
        return (
            f"the next start tries {plan.tried}, once: it is kept when it is healthy; else the former one is started again"
        )
    if plan.obstacle:
        return f"the next start does not try it: {plan.obstacle}; the boot menu has an entry for each version"
    return "the next start is of the version that is kept; terra versions lists them"
