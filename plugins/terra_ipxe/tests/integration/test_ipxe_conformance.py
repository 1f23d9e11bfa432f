"""What the contract promises of a network boot service, in a network of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.network import CONTROLLER, Network
from terra_core.testing import BootConformance
from terra_ipxe import plugin as ipxe


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with Network("conform") as made:
        yield made


class TestBoot(BootConformance):
    """With a dnsmasq and a lighttpd of its own."""

    plugin = ipxe
    name = "ipxe"
    address = CONTROLLER

    @pytest.fixture
    def surroundings(self, network: Network) -> Iterator[None]:
        """Enter the network."""
        with network.inside():
            yield
