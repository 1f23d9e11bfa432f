"""The next version of a whole system, which decides in a container whether it is kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.engine import Engine
from lab.network import Network
from lab.registry import Registry
from tests.integration.install.contained import contained
from tests.integration.install.upgrades import CONTAINED, campaign

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def engine(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with Engine(tmp_path_factory.mktemp("engine"), network) as engine:
        yield engine


def test_a_version_decides_in_a_container(network: Network, registry: Registry, engine: Engine, tmp_path: Path) -> None:
    with campaign(network, registry, tmp_path, 1, contained(network, registry, engine, tmp_path)) as made:
        made.begin((CONTAINED,))
        (machine,) = made.machines
        assert made.upgrade(machine, "kept") == "kept"
        assert machine.running == "os.1"
        assert made.upgrade(machine, "check fails").startswith("back: /usr/local/bin/check: ")
        assert made.upgrade(machine, "no word").startswith("back: it was to be started on trial")
        assert machine.running == "os.1"
