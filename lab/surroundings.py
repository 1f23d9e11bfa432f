"""What plugins need around them while the conformance kit (:mod:`terra_core.testing`) tries them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.network import Network


class InNetwork:
    """Runs the tests of a class of the kit in the network of their module; named before the kit's own class."""

    @pytest.fixture
    def surroundings(self, network: Network) -> Iterator[None]:
        """Enter the network."""
        with network.inside():
            yield
