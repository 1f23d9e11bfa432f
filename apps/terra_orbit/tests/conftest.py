"""An engine with images, and an agent on a host of its own, a set for each module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.engine import Engine
from lab.network import Network
from orbit_lab.agent import Agent
from orbit_lab.host import Host
from terra_core.system.waiting import wait_until
from terra_core.testing.tiny import write_tiny_root

TINY = "tiny:1"
HOST = "10.0.10.20"


@pytest.fixture(scope="module")
def engine(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Start an engine with two images of one small system, ``tiny:1`` and ``tiny:2``; both sleep."""
    with Engine(tmp_path_factory.mktemp("engine"), network) as engine:
        tar = tmp_path_factory.mktemp("tiny") / "tiny.tar"
        write_tiny_root(tar)
        for version in ("1", "2"):
            engine.import_image(tar, f"tiny:{version}", ['CMD ["/bin/sleep", "1000000"]', f"LABEL version={version}"])
        yield engine


@pytest.fixture(scope="module")
def host(network: Network) -> Iterator[Host]:
    """Make a host on the network."""
    with Host(network, HOST) as host:
        yield host


@pytest.fixture(scope="module")
def orbit(engine: Engine, host: Host) -> Iterator[Agent]:
    """Start an agent on the host."""
    with Agent(engine, host) as agent:
        yield agent


@pytest.fixture
def agent(orbit: Agent) -> Iterator[Agent]:
    """Yield the module's agent; a test that leaves something behind fails."""
    yield orbit
    orbit.clear()
    assert orbit.left() == []
    # The kernel removes the network of a killed container some time later.
    wait_until(lambda: orbit.host.links() == {"lo", "eth0"}, seconds=20, what="the host to have its own links only")


@pytest.fixture
def vhost(tmp_path: Path) -> Path:
    """Write the file of a container on a bridge, with an address that Orbit gives."""
    return write_vhost(tmp_path / "vhost.toml")


def write_vhost(path: Path, name: str = "one", more: str = "", *, image: str = TINY, network: str | None = None) -> Path:
    """Write a vhost.toml.

    :param more: lines before the networks.
    :param network: the networks; a bridge with ``host-local`` when left out.
    """
    bridge = '[[networks]]\ntype = "bridge"\nname = "ob1"\n[networks.ipam]\ntype = "host-local"\nsubnet = "10.88.0.0/24"\n'
    path.write_text(f'id = "{name}"\nimage = "{image}"\n{more}\n{bridge if network is None else network}')
    return path
