"""Waiting until a version on trial is healthy, or cannot be; see docs/decisions/0091."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import frozen

from terra_core.config.node import Upgrades
from terra_core.system.waiting import WaitedInVain, wait_until
from terra_core.upgrade.health import Network, Seen, fault_of

_STEADY_SECONDS = 15.0
_LEAST_SECONDS = 5.0
_INTERVAL = 2.0
"""Seconds between two questions: each costs a start of systemctl(1), while the machine has other things to do."""


@frozen(kw_only=True)
class Questions:
    """How a running system is asked.

    :param look: returns what is seen of it.
    :param check: runs the program of its owner for so many seconds; returns why it says no, or nothing.
    :param room: returns why its disk takes nothing more, or nothing.
    :param uptime: returns the seconds since the kernel started.
    :param pause: waits so many seconds.
    """

    look: Callable[[], Seen]
    check: Callable[[Sequence[str], float], str]
    room: Callable[[], str]
    uptime: Callable[[], float]
    pause: Callable[[float], None]


def judge(upgrades: Upgrades, wanted: Network, ask: Questions) -> str:
    """Wait until a version on trial is healthy, and stays so for a while; return why it is not, or nothing.

    :param upgrades: what node.toml asks for.
    :param wanted: how far the machine has to reach.
    """
    limit = upgrades.timeout
    if reason := _wait(wanted, ask, limit - ask.uptime()):
        return reason
    if reason := ask.room():
        return reason
    if upgrades.check and (reason := ask.check(upgrades.check, max(limit - ask.uptime(), _LEAST_SECONDS))):
        return reason
    # What is started again and again, or fills the disk, has shown it by then.
    ask.pause(_STEADY_SECONDS)
    fault = fault_of(ask.look(), wanted)
    return fault.reason if fault is not None else ask.room()


def _wait(wanted: Network, ask: Questions, seconds: float) -> str:
    """Wait until nothing is wrong with the system, or more waiting cannot help; return what is wrong, or nothing."""
    last = ""

    def settled() -> bool:
        nonlocal last
        fault = fault_of(ask.look(), wanted)
        last = fault.reason if fault is not None else ""
        return fault is None or fault.final

    # Asked again and again, as `is-system-running --wait` does not end for a system that stops in its start.
    try:
        wait_until(settled, seconds=max(seconds, 0), what="the system to be healthy", interval=_INTERVAL)
    except WaitedInVain:
        return f"{ask.uptime():.0f} seconds after its start, {last}"
    return last
