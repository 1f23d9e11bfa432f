"""Waiting until a machine says that it has booted, by what happens to it meanwhile."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from terra_core.client.answers import HappeningShown
from terra_core.errors import TerraError
from terra_core.system.progress import Event, Report, silent
from terra_core.system.waiting import WaitedInVain

_ASKED_SECONDS = 10
"""How long a request waits for something to happen."""
_PAUSE_SECONDS = 2.0
_STEP = "boot"
_REACHED = {
    "": (
        "was not seen: it has not asked for an address",
        "is it switched on, and does it boot from the network, by the interface whose MAC address is in its file?",
    ),
    "dhcp": (
        "has asked for an address, and not for its boot files",
        "does its firmware try the network first, and are the boot loaders installed (terra pxe IMAGE)?",
    ),
    "file": ("got its boot files, and was not connected to its disks", "look at its console; terra logs {} has the times"),
    "login": (
        "was connected to its disks, and has not reported how its boot went",
        "was its image built on a terraos that has terra-report.service? journalctl -u terra-report says more there",
    ),
    "report": ("reported, and its boot has not come to its end", "systemctl list-jobs says there what it waits for"),
}
"""What is said of a machine that does not boot, by the last thing that it came to."""
_ORDER = tuple(_REACHED)


class DegradedError(TerraError):
    """A machine has booted, and not everything in it came up."""


class Watched(Protocol):
    """Tells what happens to machines; :class:`terra_core.client.controller.ControllerClient` does."""

    def happenings(self, hostname: str, *, after: int = 0, wait: int = 0) -> Sequence[HappeningShown]:
        """Return what happened to a machine after a number, in order; wait some seconds until there is anything."""


class Asking:
    """Asks again and again what happens to a machine, also a controller that does not answer for a while.

    :param client: asks it.
    :param hostname: the machine.
    :param warn: is told why it does not answer, once for each reason.
    """

    def __init__(self, client: Watched, hostname: str, warn: Callable[[str], object]) -> None:
        self._client, self._hostname, self._warn = client, hostname, warn
        self._lost = ""

    def ask(self, *, after: int, seconds: float) -> Sequence[HappeningShown]:
        """Return what happened after a number; nothing when there was nothing, or no answer.

        :param seconds: how long to wait for something, in seconds, ten at most.
        :raises TerraError: as the controller answered, such as when it knows no such machine.
        """
        left = max(seconds, 0.0)
        try:
            found = self._client.happenings(self._hostname, after=after, wait=min(_ASKED_SECONDS, math.ceil(left)))
        except TerraError as error:
            if type(error) is not TerraError:  # the controller has answered
                raise
            if str(error) != self._lost:
                self._warn(error.message)
            self._lost = str(error)
            threading.Event().wait(min(_PAUSE_SECONDS, left))
            return ()
        self._lost = ""
        return found


def last_happening(client: Watched, hostname: str) -> int:
    """Return the number of what happened to a machine last, for :func:`wait_until_booted` to begin there.

    :raises TerraError: as the client does.
    """
    number = 0
    while found := client.happenings(hostname, after=number):
        number = found[-1].number
    return number


def wait_until_booted(
    client: Watched,
    hostname: str,
    *,
    seconds: float,
    began: float | None = None,
    after: int = 0,
    report: Report = silent,
) -> HappeningShown:
    """Wait until a machine reports that it has booted; return its report.

    A controller that does not answer meanwhile, such as one that is restarted, is asked again until the time is over.

    :param seconds: how long to wait, in seconds.
    :param began: since when, in seconds of the monotonic clock; now when left out. What is there already counts in any case.
    :param after: the number of the last happening that does not count, from :func:`last_happening`; a machine that was just
        provisioned has none.
    :param report: takes what happens to it as progress events, and may raise to end the waiting.
    :raises DegradedError: when it reports units that have failed.
    :raises WaitedInVain: when the time is over, with how far it came.
    :raises TerraError: when the controller knows no such machine.
    """
    deadline = (time.monotonic() if began is None else began) + seconds
    asking = Asking(client, hostname, lambda said: report(Event(_STEP, f"warning: {said}")))
    reached, looked = "", False
    while (left := deadline - time.monotonic()) > 0 or not looked:
        looked = True
        found = asking.ask(after=after, seconds=left)
        for one in found:
            after = one.number
            report(Event(_STEP, f"{hostname} {one.text}"))
            reached = max(reached, one.kind if one.kind in _REACHED else "", key=_ORDER.index)
            if one.kind == "report" and _has_booted(hostname, one):
                return one
    said, hint = _REACHED[reached]
    raise WaitedInVain(f"{hostname} {said}, in {seconds:.0f} seconds", hint=hint.format(hostname))


def _has_booted(hostname: str, said: HappeningShown) -> bool:
    """Return whether a report is of a boot that came to its end; raise when that was not well."""
    if said.data.get("state") == "degraded":
        failed = said.data.get("failed")
        names = ", ".join(map(str, failed)) if isinstance(failed, list) else ""
        raise DegradedError(
            f"{hostname} has booted, and is degraded: {names or 'it does not say which unit'} failed",
            hint=f"it goes on as it is; systemctl status {' '.join(names.split(', '))} says more there",
        )
    return said.data.get("state") == "running"
