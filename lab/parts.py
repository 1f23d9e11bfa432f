"""The parts that modules of integration tests share, a set for each module.

A pytest plugin, named by the ``conftest.py`` at the top of the repository; ``client`` is for modules with an ``engine``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # the fixtures import them when they are used: most runs of unit tests need none
    from docker import DockerClient

    from lab.ceph import Ceph
    from lab.engine import Engine
    from lab.network import Network
    from lab.podman import PodmanStorage
    from lab.postgresql import Postgresql
    from lab.registry import Registry


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """Make a network."""
    from lab.network import Network

    with Network("tests") as network:
        yield network


@pytest.fixture(scope="module")
def registry(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """Start an empty registry in the network."""
    from lab.registry import Registry

    with Registry(network, tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture(scope="module")
def podman_storage(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PodmanStorage]:
    """Podman with a tiny image ``terra.test/base:1``, which only programs with its environment find."""
    from lab.podman import PodmanStorage
    from terra_core.testing.tiny import write_tiny_root

    root = tmp_path_factory.mktemp("base") / "root.tar"
    write_tiny_root(root)
    with PodmanStorage(tmp_path_factory.mktemp("podman"), network) as podman:
        podman.import_image(root, "terra.test/base:1", ['CMD ["/bin/sh"]'])
        yield podman


@pytest.fixture(scope="module")
def podman(podman_storage: PodmanStorage) -> Iterator[PodmanStorage]:
    """Podman, which this process and those that it starts find: a module of other parts too takes ``podman_storage``."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in podman_storage.environment.items():
            patch.setenv(name, value)
        yield podman_storage


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Postgresql]:
    """Start a PostgreSQL server without databases."""
    from lab.postgresql import Postgresql

    with Postgresql() as server:
        yield server


@pytest.fixture(scope="module")
def ceph(network: Network) -> Iterator[Ceph]:
    """Start a Ceph cluster in the network, with an empty pool."""
    from lab.ceph import Ceph

    with Ceph(network) as cluster:
        yield cluster


@pytest.fixture
def client(engine: Engine) -> Iterator[DockerClient]:
    """Yield a client of the module's engine."""
    with closing(engine.client()) as client:
        yield client
