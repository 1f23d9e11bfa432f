"""How long it takes to export the targets of many machines by tgtd: one after another, and with one look at all of them.

    python bench/targets.py [COUNT...]

In a network of its own; the LUN files are sparse. After each way, the same is done again while all of it is exported.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lab.network import ISCSI, Network
from terra_core.config.controller import Paths
from terra_core.config.node import DiskGroup
from terra_core.config.session import Session
from terra_core.config.structure import structure
from terra_core.config.values import Address, Hostname
from terra_core.hookspecs import Target, TargetRequest
from terra_iscsi import plugin

_GROUP = structure({"label": "os", "disk": [{"device": "/dev/sda", "size": 16}]}, DiskGroup)
_BATCH = 200


def main() -> None:
    """Measure each count, and print a line for each way."""
    for count in [int(word) for word in sys.argv[1:]] or [100, 500]:
        with tempfile.TemporaryDirectory(prefix="terra-bench-") as directory, Network("bench") as network, network.inside():
            _measure(count, Session(paths=Paths(Path(directory))))


def _measure(count: int, session: Session) -> None:
    targets = [_target(at + 1, session) for at in range(count)]
    ways: dict[str, Callable[[], object]] = {
        "one after another": lambda: [plugin.restore_target(target, session) for target in targets],
        "with one look": lambda: [
            plugin.restore_targets(targets[at : at + _BATCH], session) for at in range(0, count, _BATCH)
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


def _target(number: int, session: Session) -> Target:
    name = Hostname(f"node-{number}")
    request = TargetRequest(
        hostname=name, number=number, generation=1, group=_GROUP, first_lun=0, boot=True, portal=Address(ISCSI)
    )
    with plugin.provision_target(plugin.plan_target(request, session), session) as target:
        return target


if __name__ == "__main__":
    main()
