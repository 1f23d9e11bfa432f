"""How long it takes to export the targets of many machines by tgtd: one after another, and with one look at all of them.

    python bench/targets.py [COUNT...]

In a network of its own; the files behind the LUNs are sparse. After each way, the same is done again while all of it is
exported.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lab.network import ISCSI, Network
from terra_core.config.controller import Paths
from terra_core.config.node import OS_LABEL
from terra_core.config.session import Session
from terra_core.config.values import Address, Hostname
from terra_core.hookspecs import Backing, Export, TargetRequest, Volume
from terra_iscsi import plugin

_MB = 1024 * 1024
_SIZE = 16
_BATCH = 200


def main() -> None:
    """Measure each count, and print a line for each way."""
    for count in [int(word) for word in sys.argv[1:]] or [100, 500]:
        with tempfile.TemporaryDirectory(prefix="terra-bench-") as directory, Network("bench") as network, network.inside():
            _measure(count, Session(paths=Paths(Path(directory))))


def _measure(count: int, session: Session) -> None:
    exports = [_export(at + 1, session) for at in range(count)]
    ways: dict[str, Callable[[], object]] = {
        "one after another": lambda: [plugin.restore_target(export, session) for export in exports],
        "with one look": lambda: [
            plugin.restore_targets(exports[at : at + _BATCH], session) for at in range(0, count, _BATCH)
        ],
    }
    for name, way in ways.items():
        plugin.start_storage(Address(ISCSI), session)
        seconds = []
        for _ in range(2):
            began = time.monotonic()
            way()
            seconds.append(time.monotonic() - began)
        print(f"{count} targets, {name}: {seconds[0]:.1f} s; exported already: {seconds[1]:.1f} s", flush=True)
        plugin.stop_storage(session)


def _export(number: int, session: Session) -> Export:
    name = Hostname(f"node-{number}")
    file = session.paths.root / f"{name}.lun"
    with file.open("wb") as made:
        made.truncate(_MB * _SIZE)
    request = TargetRequest(
        hostname=name,
        number=number,
        generation=1,
        label=OS_LABEL,
        volumes=(Volume(name=str(file), size=_SIZE),),
        boot=True,
        portal=Address(ISCSI),
    )
    return Export(target=plugin.plan_target(request, session), backings=(Backing(kind="file", address=str(file)),))


if __name__ == "__main__":
    main()
