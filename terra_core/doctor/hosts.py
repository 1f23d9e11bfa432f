"""What ``terra doctor`` finds of the other controllers of the database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from terra_core.doctor.finding import Off
from terra_core.doctor.records import Known

_SILENT_SECONDS = 20.0
_GOLDEN = "golden_"
_UNDONE_SECONDS = 90.0
"""By then who has lost its work, and goes on, has undone it."""


def examine_hosts(known: Known) -> Iterator[Off]:
    """Yield the hosts that are silent or fenced: one that ended in order has said so; and that all others are drained."""
    there = [host for host in known.hosts if host.state not in ("stopped", "fenced") and host.silence <= _SILENT_SECONDS]
    if there and all(host.drained for host in there):
        names = ", ".join(host.name for host in there)
        said = f"no host may take the lead when nobody has it: all that are there are drained ({names})"
        yield Off(part="hosts", problem=said, hint=f"let one lead again: terra host resume {there[0].name}")
    for host in known.hosts:
        if host.state == "fenced":
            said = f"the host {host.name} is fenced: another one took its place, and it leads no more"
            hint = f"see why (its journal), start its controller, and let it in again: terra hosts --unfence {host.name}"
            yield Off(part="hosts", problem=said, hint=hint)
        elif host.state != "stopped" and host.silence > _SILENT_SECONDS:
            seen = datetime.fromtimestamp(host.seen, UTC).isoformat(sep=" ", timespec="seconds").removesuffix("+00:00")
            said = f"the host {host.name} is silent: nothing was heard of its controller since {seen} (UTC)"
            if own := sum(machine.host == host.name for machine in known.machines.values()):
                said = f"{said}, and it alone has the disks of {own} machines"
            hint = f"look at that machine, and start its controller; terra hosts --forget {host.name} where it is gone for good"
            yield Off(part="hosts", problem=said, hint=hint)
    for one in known.attempts:
        if one.lost and one.volumes and one.silence > _UNDONE_SECONDS:
            said = f"{one.host} has lost work that it had begun, and has not said that it is undone: {', '.join(one.volumes)}"
            hint = f"it is removed once {one.host} has started again; terra hosts --forget {one.host} where it is gone for good"
            yield Off(part="hosts", problem=said, hint=hint)


def of_attempts(known: Known, one: Off) -> bool:
    """Return whether something is of a volume that a host makes for the leader, which may be there or not."""
    tokens = {attempt.owner.removeprefix(_GOLDEN) for attempt in known.attempts if attempt.owner.startswith(_GOLDEN)}
    names = tokens.union(*(attempt.volumes for attempt in known.attempts))
    return one.hostname.removeprefix(_GOLDEN) in tokens or any(name in one.problem for name in names)
