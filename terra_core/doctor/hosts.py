"""What ``terra doctor`` finds of the other controllers of the database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from terra_core.doctor.finding import Off
from terra_core.doctor.records import Known

_SILENT_SECONDS = 20.0


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
            hint = f"look at that machine, and start its controller; terra hosts --forget {host.name} where it is gone for good"
            yield Off(part="hosts", problem=said, hint=hint)
