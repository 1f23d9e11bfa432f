"""What the contract promises of a transport, in a network of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.network import ISCSI, Network
from terra_core.testing import StorageConformance
from terra_nbd import plugin as nbd


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network("conform") as made:
        yield made


class TestStorage(StorageConformance):
    """With an nbdkit for each target."""

    plugin = nbd
    name = "nbd"
    portal = ISCSI

    @pytest.fixture
    def surroundings(self, network: Network) -> Iterator[None]:
        """Enter the network."""
        with network.inside():
            yield
