"""Some upgrades of small machines, one for each way in which an upgrade ends; ``make test-upgrades`` counts a hundred."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.network import Network
from lab.registry import Registry
from tests.integration.install.upgrades import ENDS, KINDS, campaign, shown, taken

_SEED = 20261126
_ENDED = (
    ("btrfs", "disk full"), ("mirror", "kept"), ("ext4", "killed"), ("xfs", "power cut"),
    ("btrfs", "check fails"), ("mirror", "no word"), ("ext4", "disk full on trial"), ("xfs", "disk full"),
)  # fmt: skip


def test_upgrades_that_end_in_every_way_leave_a_machine_well(
    network: Network, registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with campaign(network, registry, tmp_path, _SEED) as made:
        made.begin()
        machines = {machine.kind: machine for machine in made.machines}
        for kind, end in _ENDED:
            made.upgrade(machines[kind], end)
    with capsys.disabled():
        print(f"\n{shown(made.happened)}\n{taken(made.took)}")  # noqa: T201  # what happened
    assert made.upgrades == len(_ENDED)
    assert {kind for kind, _ in _ENDED} == set(KINDS)
    assert {end for _, end in _ENDED} == set(ENDS)
