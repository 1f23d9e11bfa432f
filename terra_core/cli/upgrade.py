"""``terra upgrade``: the next version of this machine's system, or of machines of a controller."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from terra_core.cli.completion import hostnames
from terra_core.cli.forms import NamedPath
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
    "--root", "place", type=NamedPath(path_type=Path), default=Path("/"), help="Where the system's root is mounted. Default: /"
)
@click.option("--image", "image", metavar="IMAGE", help="The image that the machines of the controller get.")
@click.option("--canary", type=click.IntRange(min=1), help="Upgrade so many machines first, and go on when they are well.")
@click.option("--then", metavar="SHARE", help='How many follow at a time, such as "20%" of all, or 5. With --canary.')
@click.option("--wait", is_flag=True, help="Wait until the machines have booted the image, and are well.")
@click.option("--timeout", metavar="TIME", help="How long --wait, or each step of --canary, waits. Default: 60m")
@click.argument("words", metavar="[IMAGE | HOSTNAME...]", nargs=-1, shell_complete=hostnames)
@click.pass_context
def command(
    ctx: click.Context,
    only_plan: bool,
    untried: bool,
    reboot: bool,
    form: str,
    plain: bool,
    place: Path,
    image: str | None,
    canary: int | None,
    then: str | None,
    wait: bool,
    timeout: str | None,
    words: tuple[str, ...],
) -> int:
    """Lay the next version of a system down.

    With HOSTNAME and --image, machines of the controller get another image. The next version of each is a clone; what is the
    machine's own is taken over while it is off. It boots it once, and goes back to the version that it has, by itself, unless
    it reports that it is well.

    Without --image, it is this machine's own system: IMAGE, or the image of the node.toml that it was installed by, as its tag
    names it now, is laid down beside the version that runs, which stays as it is. Only layers are fetched that the disks do not
    hold. The next start tries the new one, once: it is kept when it is healthy, and else each further start is of the former.
    """
    if image is not None:
        if plain or untried or reboot or place != Path("/"):
            own = "--http, --root, --no-try and --reboot"
            raise click.UsageError(f"{own} are for this machine's own system, --image for a controller's machines")
        return _fleet(ctx, only_plan, form, image, canary, then, wait, timeout, words)
    if canary or then or wait or timeout:
        raise click.UsageError("--canary, --then, --wait and --timeout need --image IMAGE, and the names of machines")
    if len(words) > 1:
        raise click.UsageError(
            f"machines of a controller are upgraded with --image IMAGE: terra upgrade {' '.join(words)} --image IMAGE"
        )
    _local(ctx, only_plan, untried, reboot, form, plain, place, words[0] if words else None)
    return 0


def _fleet(
    ctx: click.Context, only_plan: bool, form: str, image: str, canary: int | None, then: str | None, wait: bool,
    timeout: str | None, words: tuple[str, ...],
) -> int:  # fmt: skip
    from terra_core.cli.connection import connect
    from terra_core.cli.fleet import Order, batches_of, carry_out
    from terra_core.cli.values import option_value
    from terra_core.cli.waiting import seconds_of
    from terra_core.config.values import parse_hostname, parse_image_reference

    if not words:
        raise click.UsageError("--image is for machines of a controller: name them, or leave --image out for this machine")
    if then and not canary:
        raise click.UsageError("--then needs --canary: how many machines are upgraded first")
    names = list(dict.fromkeys(str(option_value("HOSTNAME", name, parse_hostname)) for name in words))
    reference = option_value("--image", image, parse_image_reference)
    assert reference is not None  # noqa: S101  # for mypy: it was given
    batches = option_value("--then", then or "100%", lambda raw: batches_of(names, canary or 0, str(raw)))
    seconds = seconds_of(timeout or "60m") if wait or canary or timeout else None
    order = Order(image=reference, only_plan=only_plan, form=form, wait=seconds, batches=batches or [])
    return carry_out(connect(ctx), order)


def _local(
    ctx: click.Context, only_plan: bool, untried: bool, reboot: bool, form: str, plain: bool, place: Path, image: str | None
) -> None:
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
    if plan.needed:
        echo(f"room: about {size_of(plan.needed)}, as versions share nothing on {plan.former.filesystem}")
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
