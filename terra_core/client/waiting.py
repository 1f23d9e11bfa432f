"""Waiting until a machine says that it has booted, by what happens to it meanwhile."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from attrs import evolve, frozen

from terra_core.client.answers import HappeningShown, NodeShown
from terra_core.client.connection import NobodyAnswersError
from terra_core.errors import InterruptedWork, TerraError, UnavailableError
from terra_core.system.process import interruption
from terra_core.system.progress import Event, Report, silent
from terra_core.system.waiting import WaitedInVain

_ASKED_SECONDS = 10
"""How long a request waits for something to happen."""
_ASKED_SECONDS_OF_MANY = 3
"""The same where others wait as well: so long it takes until a signal has ended them all."""
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
_NOT_AGAIN = (
    "was changed at {}, and has not been started again",
    "what was changed counts from its next boot on: restart it, or switch it on",
)
_ENDED = ("running", "degraded")
_FOR_NOW = (TerraError, UnavailableError, NobodyAnswersError)
"""What a controller answers, or somebody in its place, that may be otherwise a moment later."""


class DegradedError(TerraError):
    """A machine has booted, and not everything in it came up."""


class Watched(Protocol):
    """Tells what happens to machines; :class:`terra_core.client.controller.ControllerClient` does."""

    def happenings(self, hostname: str, *, after: int = 0, wait: int = 0) -> Sequence[HappeningShown]:
        """Return what happened to a machine after a number, in order; wait some seconds until there is anything."""


class Shown(Watched, Protocol):
    """Tells also how a machine is."""

    def node(self, hostname: str) -> NodeShown:
        """Return a machine and its state."""


class Asking:
    """Asks again and again what happens to a machine, also a controller that does not answer for a while.

    :param client: asks it.
    :param hostname: the machine.
    :param warn: is told why it does not answer, once for each reason.
    :param known: what is known already, in order.
    :param after: the number of the last of it, where that is all that is known.
    """

    def __init__(
        self,
        client: Watched,
        hostname: str,
        warn: Callable[[str], object],
        *,
        known: Sequence[HappeningShown] = (),
        after: int = 0,
    ) -> None:
        self._client, self._hostname, self._warn = client, hostname, warn
        self._after = known[-1].number if known else after
        self._time = max((one.time for one in known), default="")
        self._lost = ""

    def ask(self, *, seconds: float) -> Sequence[HappeningShown]:
        """Return what happened since this was asked last; nothing when there was nothing, or no answer.

        :param seconds: how long to wait for something, in seconds, ten at most.
        :raises InterruptedWork: when :data:`terra_core.system.process.interruption` says so.
        :raises TerraError: as the controller answered, such as when it knows no such machine.
        """
        left = max(seconds, 0.0)
        ended = interruption.get()
        if ended is not None and ended():
            raise InterruptedWork(f"{self._hostname} is not waited for any longer")
        most = _ASKED_SECONDS if ended is None else _ASKED_SECONDS_OF_MANY
        try:
            found = self._client.happenings(self._hostname, after=self._after, wait=min(most, math.ceil(left)))
        except TerraError as error:
            if type(error) not in _FOR_NOW:  # the controller has answered, and so it is
                raise
            if str(error) != self._lost:
                self._warn(error.message)
            self._lost = str(error)
            threading.Event().wait(min(_PAUSE_SECONDS, left))
            return ()
        self._lost = ""
        if found and found[0].number <= self._after:  # of an earlier state of the database, whose numbers are lower
            self._warn("the controller's database was put back to an earlier state: some of what happened may be missing")
            known, self._after = self._time, found[-1].number
            return self._noted([one for one in found if known and one.time > known])
        return self._noted(found)

    def _noted(self, found: Sequence[HappeningShown]) -> Sequence[HappeningShown]:
        if found:
            self._after = max(self._after, found[-1].number)
            self._time = max(self._time, *(one.time for one in found))
        return found


def last_happening(client: Watched, hostname: str) -> int:
    """Return the number of what happened to a machine last, for :func:`wait_until_booted` to begin there.

    :raises TerraError: as the client does.
    """
    number = 0
    while found := client.happenings(hostname, after=number):
        number = found[-1].number
    return number


@frozen(kw_only=True)
class Past:
    """What happened to a machine up to now, as far as it tells which of its boots count.

    :param last: the number of the last happening; 0 for none.
    :param boot: the number of that with which the present boot, if there is one, can have begun: the last change or report.
    :param changed: when it was changed last by what counts from its next boot on, in UTC as RFC 3339 has it; empty for never.
    :param report: its last report of a boot that came to its end, and began after that change; ``None`` for none.
    :param before: the past before a change that has begun, for when it fails; ``None`` while there is none.
    """

    last: int = 0
    boot: int = 0
    changed: str = ""
    report: HappeningShown | None = None
    before: Past | None = None

    def after(self, one: HappeningShown) -> Past:
        """Return the past after another happening."""
        past = evolve(self, last=one.number)
        if one.data.get("next_boot") is True:
            if one.data.get("step") == "failed":
                return evolve(self.before or self, last=one.number)
            # A change that has begun counts too: where its controller is killed, the next one finishes it.
            before = self if one.data.get("step") == "begun" else None
            return Past(last=one.number, boot=one.number, changed=one.time, before=before)
        if one.kind == "report" and one.data.get("state") in _ENDED:
            return evolve(past, boot=one.number, report=one if _began_after(one, self.changed) else self.report)
        return past


def past_of(client: Watched, hostname: str) -> Past:
    """Return what happened to a machine up to now.

    :raises TerraError: as the client does.
    """
    past = Past()
    while found := client.happenings(hostname, after=past.last):
        for one in found:
            past = past.after(one)
    return past


def wait_until_current(
    client: Shown, hostname: str, *, seconds: float, began: float | None = None, report: Report = silent
) -> HappeningShown:
    """Wait until a machine is booted as it was applied last; return its report.

    A machine that is booted counts at once, unless it was changed by what counts from its next boot on, and has not been booted
    since. Otherwise its next boot counts, or the one that is under way.

    :param seconds: how long to wait, in seconds.
    :param began: since when, in seconds of the monotonic clock; now when left out.
    :param report: takes what happens to it as progress events, and may raise to end the waiting.
    :raises DegradedError: when it reports, or has reported, units that have failed.
    :raises WaitedInVain: when the time is over, with how far it came.
    :raises TerraError: when the controller knows no such machine, or does not answer at first.
    """
    past = past_of(client, hostname)
    state = client.node(hostname).state
    if past.report is not None and state == "booted" and _has_booted(hostname, past.report):
        return past.report
    booting = state == "booting"
    report(Event(_STEP, f"{hostname} is booting" if booting else f"{hostname} has to boot"))
    after = past.boot if booting else past.last
    return wait_until_booted(client, hostname, seconds=seconds, began=began, after=after, since=past.changed, report=report)


def wait_until_booted(
    client: Watched,
    hostname: str,
    *,
    seconds: float,
    began: float | None = None,
    after: int = 0,
    since: str = "",
    report: Report = silent,
) -> HappeningShown:
    """Wait until a machine reports that it has booted; return its report.

    A controller that does not answer meanwhile, such as one that is restarted, is asked again until the time is over.

    :param seconds: how long to wait, in seconds.
    :param began: since when, in seconds of the monotonic clock; now when left out. What is there already counts in any case.
    :param after: the number of the last happening that does not count, from :func:`last_happening`; a machine that was just
        provisioned has none.
    :param since: a time, in UTC as RFC 3339 has it: a boot that began before it does not count; empty where each counts.
    :param report: takes what happens to it as progress events, and may raise to end the waiting.
    :raises DegradedError: when it reports units that have failed.
    :raises WaitedInVain: when the time is over, with how far it came.
    :raises TerraError: when the controller knows no such machine.
    """
    deadline = (time.monotonic() if began is None else began) + seconds
    asking = Asking(client, hostname, lambda said: report(Event(_STEP, f"warning: {said}")), after=after)
    reached, looked = "", False
    while (left := deadline - time.monotonic()) > 0 or not looked:
        looked = True
        for one in asking.ask(seconds=left):
            report(Event(_STEP, f"{hostname} {one.text}"))
            if one.kind == "report" and not _began_after(one, since):
                reached = ""
                continue
            reached = max(reached, one.kind if one.kind in _REACHED else "", key=_ORDER.index)
            if one.kind == "report" and _has_booted(hostname, one):
                return one
    said, hint = _REACHED[reached]
    if since and reached in ("", "dhcp"):  # one that runs asks for its address now and then
        said, hint = _NOT_AGAIN[0].format(since), _NOT_AGAIN[1]
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


def _began_after(said: HappeningShown, since: str) -> bool:
    """Return whether the boot that a report is of began after a time: its kernel started so long before as it says."""
    if not since:
        return True
    uptime = said.data.get("uptime")
    running = timedelta(seconds=uptime if isinstance(uptime, int | float) else 0)
    return datetime.fromisoformat(said.time) - running >= datetime.fromisoformat(since)
