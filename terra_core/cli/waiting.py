"""``--wait=booted``: a command that ends when its machines say that they have booted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from terra_core.cli.terminal import echo
from terra_core.system.progress import Event, Report

if TYPE_CHECKING:
    from terra_core.client.answers import HappeningShown
    from terra_core.client.controller import ControllerClient

F = TypeVar("F", bound=Callable[..., Any])
_TIMEOUT = "15m"
_MOST_AT_ONCE = 64
"""How many machines are followed at a time; the others are looked at when one of these has come to its end."""


def waiting_options(command: F) -> F:
    """Give a command the options ``--wait`` and ``--timeout``."""
    said = f"How long --wait waits; {_TIMEOUT} when left out."
    timeout = click.option("--timeout", default=_TIMEOUT, metavar="TIME", help=said)
    wait = click.option("--wait", type=click.Choice(("booted",)), help="Wait until the machine itself says that it has booted.")
    return wait(timeout(command))


def seconds_of(timeout: str) -> int:
    """Return the seconds of ``--timeout``.

    :raises ConfigError: when it is no time.
    """
    from terra_core.cli.values import option_value
    from terra_core.config.values import parse_duration

    return option_value("--timeout", timeout, parse_duration) or 0


def wait_for_boots(client: ControllerClient, hostnames: Sequence[str], seconds: int, *, made: bool = False) -> None:
    """Wait until machines report that they have booted, with what happens to them on standard error.

    :param hostnames: the machines; of several, each has a line of its own.
    :param seconds: how long to wait for all of them, in seconds.
    :param made: whether they were made just now, so that any boot counts; otherwise see
        :func:`terra_core.client.waiting.wait_until_current`.
    :raises TerraError: when one of them has not, or not well, after all were waited for.
    """
    import time

    from attrs import evolve

    from terra_core.cli.connection import following, for_each
    from terra_core.client.waiting import wait_until_booted, wait_until_current
    from terra_core.errors import TerraError

    began = time.monotonic()

    def one(hostname: str, report: Report) -> HappeningShown:
        wait = wait_until_booted if made else wait_until_current
        return wait(client, hostname, seconds=seconds, began=began, report=report)

    def beside_others(hostname: str, report: Report) -> HappeningShown:
        def told(event: Event) -> None:
            report(evolve(event, text=event.text.removeprefix(f"{hostname} ")))

        try:
            said = one(hostname, told)
        except TerraError as error:
            told(Event("boot", error.message))
            raise
        report(Event("boot", "it has booted", 1, 1, "steps"))
        return said

    if len(hostnames) == 1:
        with following() as report:
            results: dict[str, HappeningShown | TerraError] = {hostnames[0]: one(hostnames[0], report)}
    else:
        results = for_each(hostnames, _MOST_AT_ONCE, beside_others)
    problems = [result for result in results.values() if isinstance(result, TerraError)]
    for hostname, result in results.items():
        if not isinstance(result, TerraError):
            echo(f"{hostname} has booted: it {result.text}", err=True)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise TerraError("\n".join(error.message for error in problems), hint="terra status HOSTNAME says more of each")
