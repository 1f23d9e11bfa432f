"""``terra-install``: a machine's image on its own disks."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from terra_core.cli import end, run
from terra_core.cli.forms import json_option
from terra_core.cli.terminal import echo

if TYPE_CHECKING:
    from terra_core.install.plan import Plan
    from terra_core.install.steps import Stopwatch
    from terra_core.system.progress import Event, Report

_PAUSE_SECONDS = 1.0


@click.command("terra-install", context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--gateway", metavar="IP", help="The machine's gateway; its name server too, unless the image names one.")
@click.option("--http", "plain", is_flag=True, help="Fetch the image by plain HTTP, from a registry without TLS.")
@click.option("--plan", "only_plan", is_flag=True, help="Print what would become of each disk, and write nothing.")
@json_option("Print JSON: the plan, or the steps as they go, a line each.", otherwise="text")
@click.option("--wipe", is_flag=True, help="Let what is on the disks go. A disk in use is refused even so.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--debug", is_flag=True, help="Show more, and a traceback when something fails.")
@click.version_option(package_name="terra-core", prog_name="terra-install")
@click.argument("source", metavar="node.toml|URL")
def command(
    gateway: str | None, plain: bool, only_plan: bool, json_wanted: bool, wipe: bool, yes: bool, debug: bool, source: str
) -> None:
    """Install the machine of node.toml (a file, a URL, or - for standard input) on the disks of this machine."""
    from terra_core.cli.values import option_value
    from terra_core.config.node import Node
    from terra_core.config.values import parse_host_address
    from terra_core.documents import load
    from terra_core.errors import TerraError
    from terra_core.install.steps import Stopwatch
    from terra_core.install.use import installation
    from terra_core.plugins import Plugins
    from terra_core.system.namespaces import private_mounts
    from terra_core.system.signals import interruptible

    address = option_value("--gateway", gateway, parse_host_address)
    plugins = Plugins.discover()
    document = load(source, Node, plugins=plugins)
    if os.geteuid() != 0:
        raise TerraError("terra-install writes to disks, which root alone may do", hint="run it as root, such as with sudo")
    with private_mounts(), interruptible(), _listener(as_json=json_wanted and not only_plan, verbose=debug) as report:
        watch = Stopwatch(report)
        with installation(
            document, gateway=address, plain_http=plain, wipe=wipe, report=watch, plugins=plugins
        ) as found:
            if only_plan:
                _print_plan(found.plan, as_json=json_wanted)
                return
            if not yes and source != "-" and sys.stdin.isatty() and sys.stderr.isatty():
                _ask(found.plan)
            found.carry_out()
        _tell(found.plan, watch, as_json=json_wanted)


def main(arguments: list[str] | None = None) -> None:
    """Run the ``terra-install`` command: exit code 0 when done, 1 failed, 2 wrong usage or configuration, 130 interrupted."""
    end(run(command, arguments))


@contextmanager
def _listener(*, as_json: bool, verbose: bool) -> Iterator[Report]:
    from terra_core.cli.output import reporter

    if as_json:
        yield _json_lines()
    else:
        with reporter(verbose=verbose) as report:
            yield report


def _json_lines() -> Callable[[Event], None]:
    """Return what prints an event a line; of those that only count, one a second and the last."""
    began = time.monotonic()
    last: tuple[str, str] = ("", "")
    printed = 0.0

    def take(event: Event) -> None:
        nonlocal last, printed
        now = time.monotonic()
        ended = event.total is not None and event.done is not None and event.done >= event.total
        if (event.step, event.text) == last and not ended and now - printed < _PAUSE_SECONDS:
            return
        last, printed = (event.step, event.text), now
        told = {"step": event.step, "text": event.text, "seconds": round(now - began, 3)}
        counted = {"done": event.done, "total": event.total, "unit": event.unit} if event.done is not None else {}
        echo(json.dumps({**told, **counted}))
        sys.stdout.flush()

    return take


def _ask(plan: Plan) -> None:
    from terra_core.errors import TerraError

    echo(f"{plan.node.hostname}: everything on these disks will be lost:", err=True)
    for target in plan.targets:
        device = target.device
        known = " ".join(filter(None, [device.model, device.serial]))
        echo(f"  {device.name}  {_size(device.size)}  {known}".rstrip(), err=True)
    for line in (line for one in plan.former for line in one.lines()):
        echo(line, err=True)
    if not click.confirm("Install on them?", err=True):
        raise TerraError("nothing was written to any disk")


def _tell(plan: Plan, watch: Stopwatch, *, as_json: bool) -> None:
    steps = {name: round(seconds, 1) for name, seconds in watch.seconds().items()}
    if as_json:
        whole = {"step": "done", "hostname": plan.node.hostname, "seconds": round(watch.elapsed, 3)}
        echo(json.dumps({**whole, "steps": steps}))
        return
    for name, seconds in steps.items():
        echo(f"{seconds:7.1f} s  {name}", err=True)
    echo(f"{watch.elapsed:7.1f} s  in all: {plan.node.hostname} is installed, and starts from its disks", err=True)


def _print_plan(plan: Plan, *, as_json: bool) -> None:
    from terra_core.cli.tables import print_table
    from terra_core.install.plan import becomes
    from terra_core.system.disks import in_words

    if as_json:
        echo(json.dumps(plan.as_json(), indent=1))
        return
    echo(f"{plan.node.hostname}: {plan.node.image}, {_size(plan.image_bytes)} before it is unpacked\n")
    print_table(
        ("DISK", "SIZE", "MODEL", "SERIAL", "HOLDS NOW", "GROUP", "BECOMES"),
        [
            (
                target.device.name,
                _size(target.device.size),
                target.device.model,
                target.device.serial,
                in_words(target.device.signatures) or "nothing",
                target.group,
                becomes(target),
            )
            for target in plan.targets
        ],
    )
    echo("")
    groups = plan.as_json()["groups"]
    print_table(
        ("GROUP", "TYPE", "ROOM", "SUBVOLUME", "MOUNTED AT"),
        [
            (group["label"], group["type"], _size(group["capacity"]), mount["subvolume"], mount["path"])
            for group in groups
            for mount in group["mounts"] or [{"subvolume": "", "path": ""}]
        ],
    )
    echo(f"\nstarts by: {plan.firmware.value if plan.firmware else 'nothing that Terra writes'}")
    for note in (*(line for one in plan.former for line in one.lines()), *plan.notes):
        echo(note)


def _size(count: int) -> str:
    """Return a size in bytes, KiB, MiB, GiB or TiB, whichever is readable."""
    for unit, factor in (("TiB", 1024**4), ("GiB", 1024**3), ("MiB", 1024**2)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} bytes"
