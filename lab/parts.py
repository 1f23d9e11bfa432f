"""The parts that modules of integration tests share, a set for each module.

A pytest plugin, named by the ``conftest.py`` at the top of the repository; ``client`` is for modules with an ``engine``.
"""

from __future__ import annotations

import os
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


STATE = "TERRA_STATE"
"""The variable that chooses where controllers of tests keep their state: ``sqlite``, or ``postgresql``."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of a module that says ``STATES = ("sqlite", "postgresql")`` with each, unless the variable chooses one."""
    kinds = getattr(metafunc.module, "STATES", ())
    if kinds and STATE not in os.environ and "kind_of_state" in metafunc.fixturenames:
        metafunc.parametrize("kind_of_state", kinds, indirect=True, scope="module")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave tests about the file of SQLite out where the state is in PostgreSQL."""
    left_out = [item for item in items if item.get_closest_marker("sqlite") and _kind_of(item) == "postgresql"]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _kind_of(item: pytest.Item) -> str:
    called = getattr(item, "callspec", None)
    return str((called.params if called else {}).get("kind_of_state") or os.environ.get(STATE, ""))


@pytest.fixture(scope="module")
def kind_of_state(request: pytest.FixtureRequest) -> str:
    """Return what the module's controller keeps its state in."""
    chosen = getattr(request, "param", None) or os.environ.get(STATE) or "sqlite"
    if chosen not in ("sqlite", "postgresql"):
        raise pytest.UsageError(f"{STATE}: expected sqlite or postgresql, got {chosen!r}")
    return str(chosen)


@pytest.fixture(scope="module")
def state(kind_of_state: str, request: pytest.FixtureRequest) -> str | None:
    """Return the URL of an empty database on a server for the module's controller; ``None`` for a SQLite file of its own."""
    if kind_of_state == "sqlite":
        return None
    server: Postgresql = request.getfixturevalue("postgresql")
    return server.make("state")


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
