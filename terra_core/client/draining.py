"""Waiting until a host that is drained has given the lead to another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from terra_core.client.answers import HostShown
from terra_core.client.connection import NobodyAnswersError
from terra_core.errors import ConflictError, NotFoundError, UnavailableError
from terra_core.service.answers import OperationShown
from terra_core.system.progress import Event, Report, silent
from terra_core.system.waiting import WaitedInVain, wait_until

_STEP = "drain"
_SHOWN = 3


class Hosts(Protocol):
    """Tells how hosts are; :class:`terra_core.client.controller.ControllerClient` does."""

    def hosts(self) -> Sequence[HostShown]:
        """Return the hosts of the database."""

    def operations(self) -> Sequence[OperationShown]:
        """Return the operations of the host that leads."""


def wait_until_drained(
    client: Hosts, name: str, *, seconds: float, report: Report = silent, interval: float = 1.0
) -> HostShown:
    """Wait until a host that is drained has given the lead up, and another one works; return that one.

    :param seconds: how long to wait, in seconds.
    :param report: is told what it waits for, and may raise to end the waiting.
    :param interval: the pause between two looks, in seconds.
    :raises WaitedInVain: when the time is over; it says what is still done, and the host stays drained.
    :raises ConflictError: when somebody lets the host lead again meanwhile.
    """
    said = ""
    found: list[HostShown] = []

    def tell(text: str) -> bool:
        nonlocal said
        if text != said:
            said = text
            report(Event(_STEP, text))
        return False

    def ended() -> bool:
        try:
            hosts = client.hosts()
            host = next((one for one in hosts if one.name == name), None)
            if host is None:
                raise NotFoundError(f"{name} is not among the hosts any more", hint="terra hosts shows all of them")
            if not host.drained:
                raise ConflictError(f"{name} is drained no longer: somebody has let it lead again")
            if host.leads:
                return tell(_finishing(name, client.operations()))
        except (UnavailableError, NobodyAnswersError) as error:  # the lead is about to move
            return tell(f"it is asked again: {error.message}")
        found[:] = [one for one in hosts if one.leads and one.state == "working"]
        return bool(found) or tell(f"{name} has given the lead up, and another host takes it")

    try:
        wait_until(ended, seconds=seconds, what=f"{name} to be drained", interval=interval)
    except WaitedInVain:
        hint = f"it stays drained, and goes on; terra hosts shows how it is, and terra host resume {name} ends it"
        raise WaitedInVain(f"{name} is not drained after {seconds:g} seconds: {said}", hint=hint) from None
    return found[0]


def _finishing(name: str, operations: Sequence[OperationShown]) -> str:
    running = [f"{one.kind} of {one.subject}" for one in operations if one.state == "running"]
    if not running:
        return f"{name} stops its services, and gives the lead up"
    more = f" and {len(running) - _SHOWN} more" if len(running) > _SHOWN else ""
    return f"{name} finishes {', '.join(running[:_SHOWN])}{more}"
