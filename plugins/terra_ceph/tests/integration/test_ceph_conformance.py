"""What the contract promises of a store, on a cluster of three OSDs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.ceph import Ceph
from lab.network import Network
from terra_ceph import plugin as ceph_plugin
from terra_core.config.controller import Paths
from terra_core.config.session import Session
from terra_core.testing import StoreConformance


@pytest.mark.cluster
class TestStore(StoreConformance):
    """With a pool that is emptied after each test."""

    plugin = ceph_plugin
    name = "ceph"

    @pytest.fixture
    def surroundings(self, network: Network, ceph: Ceph) -> Iterator[None]:
        """Enter the network of the cluster."""
        with network.inside():
            yield
        ceph.empty()

    @pytest.fixture
    def session(self, root: Path, surroundings: None, ceph: Ceph) -> Session:
        """Return a session that names the cluster."""
        return Session(source="test.toml", tables={"ceph": {"config": str(ceph.config)}}, paths=Paths(root))
