"""``--wait=booted``: a command that ends when its machines say that they have booted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

from terra_core.cli.terminal import echo

if TYPE_CHECKING:
    from terra_core.client.controller import ControllerClient

F = TypeVar("F", bound=Callable[..., Any])
_TIMEOUT = "15m"


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


def wait_for_boots(client: ControllerClient, machines: Mapping[str, int], seconds: int) -> None:
    """Wait until machines report that they have booted, with what happens to them on standard error.

    :param machines: for each, the number of the last happening that does not count; 0 for one that was just provisioned.
    :raises TerraError: when one of them has not, or not well, after all were waited for.
    """
    import time

    from terra_core.cli.connection import following
    from terra_core.client.waiting import DegradedError, wait_until_booted
    from terra_core.errors import TerraError
    from terra_core.system.waiting import WaitedInVain

    began, problems = time.monotonic(), []
    with following() as report:
        for hostname, after in machines.items():
            try:
                said = wait_until_booted(client, hostname, seconds=seconds, began=began, after=after, report=report)
            except (DegradedError, WaitedInVain) as error:
                problems.append(error)
            else:
                echo(f"{hostname} has booted: it {said.text}", err=True)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise TerraError("\n".join(error.message for error in problems), hint="terra status HOSTNAME says more of each")
